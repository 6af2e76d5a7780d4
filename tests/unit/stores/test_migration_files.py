"""What the name and the text of a migration say, and rules that those of this version keep."""

import re

import pytest

from stores.postgres.migrations.files import Kind, Migration, known_migrations, newest_known
from stores.postgres.migrations.sessions import application_name


def migration(sql: str, name: str = "0001_one.sql") -> Migration:
    return Migration(int(name[:4]), name, sql)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("0007_a_thing.sql", Kind.EXPAND),
        ("0007_a_thing.concurrent.sql", Kind.CONCURRENT),
        ("0007_a_thing.backfill.sql", Kind.BACKFILL),
        ("0007_a_thing.contract.sql", Kind.CONTRACT),
        ("later", Kind.EXPAND),
    ],
)
def test_the_name_of_a_file_says_how_it_is_applied(name: str, kind: Kind) -> None:
    assert Migration(7, name, "").kind is kind


def test_statements_end_at_semicolons_that_are_neither_quoted_nor_in_a_comment() -> None:
    sql = """\
-- First; of all
create table one (a text default 'x;y''z', "odd;name" text);

/* not; a statement */
do $body$
begin
    perform $$;$$;
end
$body$;  -- done;
select 1
"""
    assert [(statement.line, statement.sql[:12]) for statement in migration(sql).statements] == [
        (2, "create table"),
        (5, "do $body$\nbe"),
        (10, "select 1"),
    ]


def test_a_file_of_comments_has_no_statement() -> None:
    assert migration("-- nothing\n ; /* here */ ;").statements == []


def test_what_contracts_needs_its_own_number_unless_it_says_another() -> None:
    name = "0007_a_thing.contract.sql"
    assert migration("drop table one", name).needs == 7
    assert migration("-- Gone.\n-- needs: 0005\ndrop table one", name).needs == 5
    assert migration("-- needs: 0005\ndrop table one").needs is None


def test_a_session_says_what_its_version_knows_and_whom_it_serves() -> None:
    assert application_name("sink") == f"penstock/{newest_known()}/sink"


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    assert [known.number for known in known_migrations()] == list(range(1, len(known_migrations()) + 1))


def of_kind(*kinds: Kind) -> list[Migration]:
    return [known for known in known_migrations() if known.kind in kinds]


def test_a_transaction_is_begun_for_each_migration_and_none_begins_or_ends_one_itself() -> None:
    for known in known_migrations():
        for statement in known.statements:
            assert not re.match(r"begin|start|commit|rollback|savepoint", statement.sql), known.name


def test_what_is_in_a_transaction_does_nothing_concurrently() -> None:
    for known in of_kind(Kind.EXPAND, Kind.CONTRACT):
        assert not any("concurrently" in statement.sql.lower() for statement in known.statements), known.name


@pytest.mark.parametrize(
    ("sql", "allowed"),
    [
        ("create index concurrently if not exists a on b (c)", True),
        ("create unique index concurrently if not exists a on b (c)", True),
        ("drop index concurrently if exists a", True),
        ("alter table b validate constraint d", True),
        ("create index concurrently a on b (c)", False),
        ("create index if not exists a on b (c)", False),
        ("update b set c = 1", False),
    ],
)
def test_a_statement_that_is_done_beside_others_can_be_done_again(sql: str, allowed: bool) -> None:
    assert can_be_done_again(sql) is allowed


def test_so_can_all_of_this_version() -> None:
    for known in of_kind(Kind.CONCURRENT):
        assert all(can_be_done_again(statement.sql) for statement in known.statements), known.name


def test_a_backfill_is_one_statement() -> None:
    assert all(len(known.statements) == 1 for known in of_kind(Kind.BACKFILL))


def can_be_done_again(sql: str) -> bool:
    forms = (
        r"create\s+(unique\s+)?index\s+concurrently\s+if\s+not\s+exists\s+\w+\s+on\s.*",
        r"drop\s+index\s+concurrently\s+if\s+exists\s+\w+",
        r"alter\s+table\s+(only\s+)?\w+\s+validate\s+constraint\s+\w+",
    )
    return any(re.fullmatch(form, sql, re.DOTALL) for form in forms)
