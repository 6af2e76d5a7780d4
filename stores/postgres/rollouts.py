"""The rollouts in Postgres."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from schemas.rollout_transitions import Inputs
from schemas.rollouts import Event, Plan, Rollout, RolloutStatus, Verb
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import PostgresStore
from stores.postgres.routes import lock_route, newest_revisions, write_route
from stores.postgres.webhooks.events import TransactionEvents
from stores.rollouts import (
    NOTHING_KNOWN,
    REVISIONS_READ,
    Beside,
    Change,
    Judged,
    KeptEvent,
    StoredRollout,
    Written,
    begun,
    changed,
    kept_evidence,
    not_found,
    tell_end,
)
from stores.routes import Expect
from stores.validation import at_most, storable

if TYPE_CHECKING:
    import asyncpg

    from stores.postgres.calls import Connection

log = get_logger(__name__)

# What the judge may tell of one rollout for ever: that it holds on, for another reason than before, and that it has
# another share. Of each so many are kept; of its other events all.
OFTEN: Final = frozenset({Verb.HOLD, Verb.WEIGH})
OFTEN_KEPT: Final = 500
# Of these, so many with what was counted by then: some kilobytes each.
OFTEN_EXPLAINED: Final = 50

_MODEL: Final = "select model from rollouts where id = $1"
_GET: Final = "select id, document, evidence from rollouts where id = $1"
_LOCK: Final = f"{_GET} for no key update"
_OPEN: Final = "select id, document, null as evidence from rollouts where model = $1 and ended_at is null"
_RUNNING: Final = """
select id, document, evidence from rollouts where status = 'running' and ended_at is null order by id
"""
_LIST: Final = """
select id, document, null as evidence from rollouts
where ($1::text is null or model = $1) and ($2::text is null or status = $2) and ($3::text is null or id < $3)
order by id desc limit $4
"""
_INSERT: Final = """
insert into rollouts (id, model, status, sequence, ended_at, document, evidence)
values ($1, $2, $3, $4, $5, $6::json, $7::json)
"""
_UPDATE: Final = """
update rollouts set status = $3, sequence = $4, ended_at = $5, document = $6::json, evidence = $7::json
where id = $1 and model = $2
"""
_TELL: Final = """
insert into rollout_events (rollout, sequence, verb, document, evidence) values ($1, $2, $3, $4::json, $5::json)
"""
_OLD: Final = """
rollout = $1 and verb = $2 and sequence <= (
    select sequence from rollout_events where rollout = $1 and verb = $2 order by sequence desc offset $3 limit 1
)
"""
_FORGET: Final = f"delete from rollout_events where {_OLD}"
_FORGET_COUNTED: Final = f"update rollout_events set evidence = null where evidence is not null and {_OLD}"
_EVENTS: Final = """
select sequence, document, case when $4::boolean then evidence end as evidence from rollout_events
where rollout = $1 and sequence < $2 order by sequence desc limit $3
"""

_rollouts: Final = msgspec.json.Decoder(Rollout)
_events: Final = msgspec.json.Decoder(Event)


class PostgresRollouts(PostgresStore):
    """`RolloutStore` on Postgres. Use as `async with`.

    `timeout_s` bounds each wait for a connection and each statement; not `ahead`, a connection is opened by who needs
    one first. Every change locks its model's route first: so all come one after the other, and no two wait for each
    other.
    """

    def __init__(
        self, dsn: str, *, connections: int = 1, timeout_s: float = 5.0, role: str = CLIENT, ahead: bool = True
    ) -> None:
        super().__init__(dsn, connections=connections, timeout_s=timeout_s, role=role, ahead=ahead)
        self._unreadable = set[str]()

    async def start(
        self,
        plan: Plan,
        rollout_id: str,
        default: str | None,
        inputs: Inputs,
        now: datetime,
        *,
        above: int = 0,
        beside: Beside = NOTHING_KNOWN,
    ) -> Written:
        async with self._postgres.transaction() as connection:
            await lock_route(connection, plan.model, now)
            revisions = await newest_revisions(connection, plan.model, REVISIONS_READ)
            running = await _open_of(connection, plan.model)
            change = begun(plan, rollout_id, default, inputs, now, revisions=revisions, running=running, beside=beside)
            if change.event is None:
                return Written(change.rollout)
            return (await _write(connection, _INSERT, change, (None, None), above))._replace(is_new=True)

    async def change(
        self,
        rollout_id: str,
        verb: Verb,
        inputs: Inputs,
        now: datetime,
        judged: Judged | None = None,
        *,
        above: int = 0,
        beside: Beside = NOTHING_KNOWN,
    ) -> Written:
        found = await self._postgres.fetch(_MODEL, rollout_id) if storable(rollout_id) else ()
        if not found:
            raise not_found(rollout_id)
        model = found[0]["model"]
        async with self._postgres.transaction() as connection:
            await lock_route(connection, model, now)
            row = await connection.fetchrow(_LOCK, rollout_id)
            if row is None:  # purged in this moment
                raise not_found(rollout_id)
            stored = _read(row)
            rollout = stored.rollout
            if judged is not None and judged.sequence != rollout.sequence:
                return Written(rollout)
            running = rollout if rollout.is_open else await _open_of(connection, model)
            revisions = await newest_revisions(connection, model, 1 if rollout.is_open else REVISIONS_READ)
            change = changed(rollout, verb, inputs, now, revisions=revisions, running=running, beside=beside)
            if change.rollout is rollout:
                return Written(rollout)
            return await _write(connection, _UPDATE, change, kept_evidence(verb, stored, judged), above)

    async def get(self, rollout_id: str) -> StoredRollout | None:
        if not storable(rollout_id):
            return None
        rows = await self._postgres.fetch(_GET, rollout_id)
        return _read(rows[0]) if rows else None

    async def list(
        self, *, model: str | None = None, status: RolloutStatus | None = None, after: str | None = None, limit: int
    ) -> Sequence[Rollout]:
        if not storable(model, after):
            return []
        found: list[Rollout] = []
        while True:  # a short page would be taken for the last one
            wanted = limit - len(found)
            rows = await self._postgres.fetch(_LIST, model, status, after, wanted)
            found += [stored.rollout for stored in self._readable(rows)]
            if len(rows) < wanted or len(found) == limit:
                return found
            after = rows[-1]["id"]

    async def running(self) -> Sequence[StoredRollout]:
        return self._readable(await self._postgres.fetch(_RUNNING))

    async def events(
        self, rollout_id: str, *, before: int | None = None, limit: int, counted: bool = True
    ) -> Sequence[KeptEvent]:
        if not storable(rollout_id):
            return []
        found: list[KeptEvent] = []
        before = at_most(before)
        while True:
            wanted = limit - len(found)
            rows = await self._postgres.fetch(_EVENTS, rollout_id, before, wanted, counted)
            found += [each for each in map(_event, rows) if each is not None]
            if len(rows) < wanted or len(found) == limit:
                return found
            before = rows[-1]["sequence"]

    def _readable(self, rows: Sequence["asyncpg.Record"]) -> Sequence[StoredRollout]:
        """One that a newer version has written is passed over, and told of once: the others are no worse for it."""
        found = []
        for row in rows:
            try:
                found.append(_read(row))
            except StoreUnavailable as error:
                if row["id"] not in self._unreadable:
                    self._unreadable.add(row["id"])
                    log.error("a rollout is passed over", rollout=row["id"], reason=error.message)
        return found


async def _open_of(connection: "Connection", model: str) -> Rollout | None:
    row = await connection.fetchrow(_OPEN, model)
    return None if row is None else _read(row).rollout


async def _write(
    connection: "Connection",
    statement: str,
    change: Change,
    kept: tuple[bytes | None, bytes | None],
    above: int,
) -> Written:
    """Route, rollout and event, in the transaction that has begun. `kept` is as `kept_evidence` says."""
    rollout, event = change.rollout, change.event
    evidence, next_evidence = kept
    if change.route is not None:
        written = await write_route(
            connection, rollout.plan.model, change.route, Expect.WHATEVER, change.author, rollout.updated_at, above
        )
        rollout = msgspec.structs.replace(rollout, revision=written.revision)
    await connection.execute(
        statement,
        rollout.id,
        rollout.plan.model,
        rollout.status,
        rollout.sequence,
        rollout.ended_at,
        msgspec.json.encode(rollout).decode(),
        _text(next_evidence),
    )
    if event is not None:
        await _tell(connection, rollout, event, evidence)
    await tell_end(TransactionEvents(connection), change)
    return Written(rollout, routed=change.route is not None)


async def _tell(connection: "Connection", rollout: Rollout, event: Event, evidence: bytes | None) -> None:
    told = msgspec.json.encode(msgspec.structs.replace(event, revision=rollout.revision)).decode()
    await connection.execute(_TELL, rollout.id, event.sequence, event.verb, told, _text(evidence))
    if event.verb in OFTEN:
        await connection.execute(_FORGET, rollout.id, event.verb, OFTEN_KEPT)
        await connection.execute(_FORGET_COUNTED, rollout.id, event.verb, OFTEN_EXPLAINED)


def _read(row: "asyncpg.Record") -> StoredRollout:
    """Raises `StoreUnavailable` for what this version does not understand."""
    try:
        rollout = _rollouts.decode(row["document"])
    except msgspec.DecodeError as error:
        raise StoreUnavailable(f"{row['id']} was written by a newer version, which alone can read it") from error
    return StoredRollout(rollout, _bytes(row["evidence"]))


def _event(row: "asyncpg.Record") -> KeptEvent | None:
    """None for what this version does not understand."""
    try:
        return KeptEvent(_events.decode(row["document"]), _bytes(row["evidence"]))
    except msgspec.DecodeError:
        return None


def _text(evidence: bytes | None) -> str | None:
    return None if evidence is None else evidence.decode()


def _bytes(evidence: str | None) -> bytes | None:
    return None if evidence is None else evidence.encode()
