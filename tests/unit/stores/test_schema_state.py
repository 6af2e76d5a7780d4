"""How what a database has and what a version brings stand to each other."""

from datetime import UTC, datetime

import pytest

from stores.postgres.migrations import SchemaState, Standing
from stores.postgres.migrations.files import Migration
from stores.postgres.migrations.ledger import Entry
from stores.postgres.migrations.state import conflict_of, steps_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TABLE = Migration(1, "0001_table.sql", "create table one (n integer)")
INDEX = Migration(2, "0002_index.concurrent.sql", "create index concurrently if not exists i on one (n)")
FILLED = Migration(3, "0003_filled.backfill.sql", "update one set n = 1 where n is null")
GONE = Migration(4, "0004_gone.contract.sql", "drop table two")
LATER = Migration(5, "0005_later.sql", "create table three (n integer)")
KNOWN = [TABLE, INDEX, FILLED, GONE, LATER]


def entry(migration: Migration, *, done: bool = True, version: str | None = "7.8.9") -> Entry:
    applied_at = NOW if done else None
    needs = migration.needs if done else None
    return Entry(migration.number, migration.name, migration.sha256, applied_at, NOW, None, needs, version)


def state_of(known: list[Migration], entries: list[Entry]) -> SchemaState:
    return SchemaState(steps_of(known, entries), conflict_of(known, entries), migrating=False, roles=[])


def test_a_new_database_lacks_all_that_roles_rely_on() -> None:
    state = state_of(KNOWN, [])
    assert [step.name for step in state.missing] == [TABLE.name, INDEX.name, LATER.name]
    assert state.trouble == (
        "the database lacks migrations of this version (0001_table.sql and 2 more): run `penstock migrate`"
    )


def test_a_database_that_has_everything_is_no_trouble() -> None:
    state = state_of(KNOWN, [entry(migration) for migration in KNOWN])
    assert {step.standing for step in state.steps} == {Standing.APPLIED}
    assert (state.trouble, list(state.missing), list(state.unfinished)) == (None, [], [])


def test_roles_do_not_wait_for_a_backfill_nor_for_what_contracts() -> None:
    state = state_of(KNOWN, [entry(TABLE), entry(INDEX), entry(FILLED, done=False), entry(LATER)])
    assert state.trouble is None
    assert [(step.name, step.standing) for step in state.unfinished] == [
        (FILLED.name, Standing.STARTED),
        (GONE.name, Standing.PENDING),
    ]


def test_roles_wait_for_an_index_that_is_being_built() -> None:
    state = state_of(KNOWN[:2], [entry(TABLE), entry(INDEX, done=False)])
    assert (
        state.trouble
        == "the database lacks migrations of this version (0002_index.concurrent.sql): run `penstock migrate`"
    )


def test_what_a_newer_version_added_is_no_trouble() -> None:
    state = state_of([TABLE], [entry(TABLE), entry(INDEX), entry(FILLED)])
    assert state.trouble is None
    assert [step.standing for step in state.steps] == [Standing.APPLIED, Standing.NEWER, Standing.NEWER]


@pytest.mark.parametrize(
    ("version", "run"), [("7.8.9", "Penstock 7.8.9"), (None, "the version of Penstock that applied it")]
)
def test_what_a_newer_version_took_away_is_told_with_the_version_to_run(version: str | None, run: str) -> None:
    state = state_of([TABLE], [entry(TABLE), entry(GONE, version=version)])
    assert state.trouble == (
        f"the database was migrated by {GONE.name}, which took away what this version of Penstock needs: "
        f"run {run} or newer"
    )


def test_what_a_newer_version_will_take_away_is_no_trouble_yet() -> None:
    assert conflict_of([TABLE], [entry(TABLE), entry(GONE, done=False)]) is None


def test_a_version_that_no_longer_uses_what_was_taken_away_goes_on() -> None:
    gone = GONE._replace(sql="-- needs: 0002\ndrop table two")
    assert conflict_of([TABLE, INDEX], [entry(TABLE), entry(INDEX), entry(gone)]) is None
    assert conflict_of([TABLE], [entry(TABLE), entry(INDEX), entry(gone)]) is not None


def test_what_contracts_may_come_after_later_ones_and_nothing_else() -> None:
    assert conflict_of(KNOWN, [entry(TABLE), entry(INDEX), entry(FILLED), entry(LATER)]) is None
    assert conflict_of(KNOWN, [entry(TABLE), entry(FILLED)]) == (
        f"the database lacks {INDEX.name}, which came before those it has"
    )


def test_a_file_that_was_corrected_before_it_was_done_is_no_conflict() -> None:
    corrected = INDEX._replace(sql="create index concurrently if not exists i on one (n desc)")
    assert conflict_of([TABLE, corrected], [entry(TABLE), entry(INDEX, done=False)]) is None
    assert "another 0002_index" in (conflict_of([TABLE, corrected], [entry(TABLE), entry(INDEX)]) or "")
