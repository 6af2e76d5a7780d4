"""What `penstock migrate --status` says."""

from datetime import UTC, datetime

from penstock.schema_report import lines_of, object_of
from stores.postgres.migrations import ConnectedRole, Kind, SchemaState, Standing, Step

THEN = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
TABLE = Step(1, "0001_table.sql", Kind.EXPAND, Standing.APPLIED, THEN, THEN)
FILLED = Step(2, "0002_filled.backfill.sql", Kind.BACKFILL, Standing.STARTED, THEN, None, 12_000)
GONE = Step(3, "0003_gone.contract.sql", Kind.CONTRACT, Standing.PENDING)
SINK = ConnectedRole("sink", 2, "10.0.0.3", 2)


def test_each_migration_and_each_connected_role_has_a_line_and_the_last_says_what_follows() -> None:
    state = SchemaState([TABLE, FILLED, GONE], None, migrating=True, roles=[SINK])
    assert list(lines_of(state)) == [
        "0001_table.sql            applied  2030-01-02 03:04:05",
        "0002_filled.backfill.sql  started  2030-01-02 03:04:05, 12,000 rows",
        "0003_gone.contract.sql    pending",
        "connected: sink at 10.0.0.3, which knows 0002 (2 connections)",
        "`penstock migrate` is at work in this moment",
        "roles can start; `penstock migrate` has yet to do 0002_filled.backfill.sql, 0003_gone.contract.sql",
    ]


def test_what_is_missing_is_the_last_line() -> None:
    state = SchemaState([TABLE._replace(standing=Standing.PENDING)], None, migrating=False, roles=[])
    assert list(lines_of(state))[-1] == (
        "the database lacks migrations of this version (0001_table.sql): run `penstock migrate`"
    )


def test_of_an_up_to_date_database_the_last_line_says_so() -> None:
    assert list(lines_of(SchemaState([TABLE], None, migrating=False, roles=[])))[-1] == "up to date"


def test_programs_read_the_same() -> None:
    told = object_of(SchemaState([FILLED], "it does not fit", migrating=False, roles=[SINK]))
    assert told["usable"] is False
    assert told["trouble"] == "it does not fit"
    assert told["migrations"] == [
        {
            "number": 2,
            "name": "0002_filled.backfill.sql",
            "kind": "backfill",
            "standing": "started",
            "started_at": "2030-01-02T03:04:05Z",
            "applied_at": None,
            "rows_changed": 12000,
        }
    ]
    assert told["roles"] == [{"role": "sink", "newest": 2, "address": "10.0.0.3", "connections": 2}]
