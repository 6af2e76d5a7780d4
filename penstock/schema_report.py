"""What `penstock migrate --status` says of the database, for people and for programs."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from stores.postgres.migrations import SchemaState, Standing, Step


def lines_of(state: SchemaState) -> Iterator[str]:
    width = max((len(step.name) for step in state.steps), default=0)
    for step in state.steps:
        yield f"{step.name:<{width}}  {step.standing:<7}  {_more(step)}".rstrip()
    for role in state.roles:
        connections = "1 connection" if role.connections == 1 else f"{role.connections} connections"
        yield f"connected: {role}, which knows {role.newest:04} ({connections})"
    if state.migrating:
        yield "`penstock migrate` is at work in this moment"
    yield state.trouble or _what_is_left(state.unfinished)


def object_of(state: SchemaState) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(
        {
            "usable": state.trouble is None,
            "trouble": state.trouble,
            "migrating": state.migrating,
            "migrations": [step._asdict() for step in state.steps],
            "roles": [role._asdict() for role in state.roles],
        }
    )
    return told


def _more(step: Step) -> str:
    if step.standing is Standing.PENDING:
        return ""
    at = step.applied_at or step.started_at
    rows = "" if step.rows_changed is None else f", {step.rows_changed:,} rows"
    return f"{at:%Y-%m-%d %H:%M:%S}{rows}" if at else rows.removeprefix(", ")


def _what_is_left(unfinished: Sequence[Step]) -> str:
    if not unfinished:
        return "up to date"
    return f"roles can start; `penstock migrate` has yet to do {', '.join(step.name for step in unfinished)}"
