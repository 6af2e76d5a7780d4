"""No statement ends a job, or says that it runs, without writing what is to be delivered of it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

STORES = Path(__file__).parents[3] / "stores" / "postgres"

_UPDATE = re.compile(
    r"update (?:only )?(?:\{jobs\}|jobs\w*)\s.*?\bset\b(.*?)(?:\bwhere\b|\bfrom\b|\breturning\b|$)", re.DOTALL
)
_INSERT = re.compile(r"insert into (?:\{jobs\}|jobs\w*) ")
_STATE = re.compile(r"\b(?:status|completed_at)\s*=")


def changes_state(sql: str) -> bool:
    """Whether it makes of a job what it was not; a new job is queued."""
    set_to = _UPDATE.search(sql)
    if set_to is not None and _STATE.search(set_to[1]):
        return True
    return _INSERT.search(sql) is not None and "'queued'" not in sql


def texts(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Every string, as it stands in the source; what is put into it by braces is left out."""
    parts: set[ast.AST] = set()
    for node in ast.walk(tree):  # the whole before its parts
        if isinstance(node, ast.JoinedStr):
            parts.update(node.values)
            yield node, "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node, node.value


def told(tree: ast.AST) -> set[ast.AST]:
    """The texts that are handed to `telling`."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "telling"}


def untold(source: str) -> list[str]:
    tree = ast.parse(source)
    known = told(tree)
    within = {part for node in known for part in ast.walk(node)}
    return [text for node, text in texts(tree) if node not in within and changes_state(text)]


@pytest.mark.parametrize("path", sorted(STORES.rglob("*.py")), ids=lambda path: str(path.relative_to(STORES)))
def test_what_changes_the_state_of_jobs_tells_of_it(path: Path) -> None:
    assert untold(path.read_text()) == []


def test_all_that_changes_the_state_of_jobs_is_found() -> None:
    found = set()
    for path in STORES.rglob("*.py"):
        tree = ast.parse(path.read_text())
        known = told(tree)
        if any(node in known and changes_state(text) for node, text in texts(tree)):
            found.add(path.stem)
    assert found == {"results", "jobs", "holds"}


@pytest.mark.parametrize(
    "sql",
    [
        "update {{jobs}} j set keep_until = now(), completed_at = $1 where j.id = $2",
        "with a as (select 1) update jobs set\\n    status = 'failed'\\nfrom a",
        "update only jobs_03 j set error = $1, status = 'canceled'",
        "insert into {{jobs}} as j (id) select $1 on conflict do update set status = excluded.status",
        "insert into jobs (id, status, completed_at) values ($1, 'failed', now())",
    ],
)
def test_one_that_does_not_tell_is_found(sql: str) -> None:
    assert untold(f'X = in_each_place(f"""{sql} {{1}}""")') != []
    assert untold(f'X = telling(f"""{sql} {{1}}""", answer="1", now="$1")') == []


@pytest.mark.parametrize(
    "sql",
    [
        "update {{jobs}} j set keep_until = $1 where j.status = 'queued' and j.completed_at is null",
        "update jobs set lane = $1 from asked where completed_at = $2",
        "insert into {{jobs}} (id, status) select id, 'queued' from asked",
        "select from jobs where status = 'failed'",
        "delete from {{jobs}} j where j.status = 'queued'",
        "update rollouts set status = $1",
    ],
)
def test_one_that_changes_no_state_need_not_tell(sql: str) -> None:
    assert untold(f'X = f"""{sql} {{1}}"""') == []
