"""Contract of `RolloutStore`: rollouts, their events and the routes that follow from them, changed together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
import pytest
from structlog.testing import capture_logs

from schemas.errors import Conflict, NotFound, StoreUnavailable
from schemas.rollout_plans import read_plan
from schemas.rollout_transitions import Inputs
from schemas.rollouts import Decision, Finding, Plan, Rollout, RolloutStatus, Verb, Verdict, new_rollout_id
from schemas.route_documents import MAX_LABELS, WantedRoute
from schemas.routes import Pin, Route, Sticky
from stores.memory_rollouts import MemoryRollouts
from stores.memory_routes import MemoryRoutes
from stores.postgres import PostgresPurging
from stores.postgres.rollouts import PostgresRollouts
from stores.postgres.routes import PostgresRoutes
from stores.retention import DEFAULT_RETENTION, ROLLOUTS_KEPT
from stores.rollouts import Judged, RolloutStore
from stores.routes import Author, Expect, RouteStore
from tests.contracts.stores.building import LATER, NOW
from tests.contracts.stores.conftest import EMPTY, execute

PLAN = read_plan(b'{"model":"digits","version":"2","steps":[5,25,100],"step_time_s":10}')
ANNA = Inputs("anna")
ALL_OF_1 = WantedRoute(versions={"1": 10_000}, default="1", salt="grain")
GOOD = Verdict(Decision.PROMOTE, "failed", (Finding("failed", Decision.PROMOTE, "0 of 1,000", numbers={"rate": 0.0}),))
TOO_FEW = Verdict(Decision.HOLD, "too_few")


class Kept(NamedTuple):
    rollouts: RolloutStore
    routes: RouteStore

    async def route(self, model: str = "digits") -> Route:
        newest = await self.routes.newest(model)
        assert newest is not None
        assert newest.route is not None
        return newest.route

    async def started(self, **fields: Any) -> Rollout:
        plan = msgspec.structs.replace(PLAN, **fields)
        return (await self.rollouts.start(plan, new_rollout_id(), "1", ANNA, NOW)).rollout

    async def changed(self, rollout: Rollout, verb: Verb) -> Rollout:
        return (await self.rollouts.change(rollout.id, verb, ANNA, LATER)).rollout

    async def judged(
        self, rollout: Rollout, verb: Verb, verdict: Verdict = GOOD, evidence: bytes = b'{"n":1}'
    ) -> Rollout:
        inputs = Inputs("controller", verdict=verdict, counted_until=LATER)
        judged = Judged(rollout.sequence, evidence, b'{"n":2}')
        return (await self.rollouts.change(rollout.id, verb, inputs, LATER, judged)).rollout

    async def verbs(self, rollout: Rollout) -> list[Verb]:
        return [kept.event.verb for kept in reversed(await self.rollouts.events(rollout.id, limit=1000))]


@pytest.fixture
async def kept(dsn: str | None) -> AsyncIterator[Kept]:
    if dsn is None:
        routes = MemoryRoutes()
        yield Kept(MemoryRollouts(routes), routes)
        return
    async with in_postgres(dsn) as kept:
        yield kept


@pytest.fixture
async def postgres_kept(shared_dsn: str) -> AsyncIterator[Kept]:
    await execute(shared_dsn, EMPTY)
    async with in_postgres(shared_dsn) as kept:
        yield kept


@asynccontextmanager
async def in_postgres(dsn: str) -> AsyncIterator[Kept]:
    async with PostgresRollouts(dsn, connections=4) as rollouts, PostgresRoutes(dsn) as routes:
        yield Kept(rollouts, routes)


async def test_a_rollout_begins_with_its_route(kept: Kept) -> None:
    await kept.routes.put("digits", ALL_OF_1, Expect.NONE, Author("anna"))
    written = await kept.rollouts.start(PLAN, "rollout_1", None, Inputs("bob", "let us see"), NOW)
    rollout = written.rollout
    assert (written.is_new, written.routed) == (True, True)
    assert (rollout.status, rollout.stable, rollout.share, rollout.revision) == (RolloutStatus.RUNNING, "1", 500, 2)
    stored = await kept.rollouts.get("rollout_1")
    assert stored == (rollout, None)

    route = await kept.route()
    assert (route.versions, route.default, route.salt) == ({"1": 9500, "2": 500}, "1", "grain")
    assert (route.labels, route.rescue, route.rollout) == ({"stable": "1", "canary": "2"}, True, "rollout_1")
    assert (route.revision, route.updated_by) == (2, "bob")
    ((event, evidence),) = await kept.rollouts.events("rollout_1", limit=10)
    assert (event.verb, event.by, event.note, event.revision) == (Verb.START, "bob", "let us see", 2)
    assert evidence is None


async def test_a_model_without_a_route_gets_one_from_its_default(kept: Kept) -> None:
    rollout = await kept.started()
    route = await kept.route()
    assert (rollout.stable, route.versions, route.salt) == ("1", {"1": 9500, "2": 500}, "digits")


@pytest.mark.parametrize("default", [None, "2"])
async def test_without_a_version_that_stays_nothing_begins(kept: Kept, default: str | None) -> None:
    with pytest.raises(Conflict, match="set a route first"):
        await kept.rollouts.start(PLAN, "rollout_1", default, ANNA, NOW)
    assert await kept.rollouts.get("rollout_1") is None


async def test_the_same_start_twice_is_one_rollout_and_another_is_refused(kept: Kept) -> None:
    rollout = await kept.started()
    again = await kept.rollouts.start(PLAN, new_rollout_id(), "1", ANNA, LATER)
    assert (again.rollout, again.is_new, again.routed) == (rollout, False, False)
    with pytest.raises(Conflict, match=f"{rollout.id} of digits/2 is running: abort or promote it first"):
        await kept.started(version="3")
    other = await kept.started(model="minilm")
    assert other.id != rollout.id


async def test_starts_at_one_time_are_one_rollout(kept: Kept) -> None:
    rollouts = await asyncio.gather(*(kept.started() for _ in range(4)))
    assert len({rollout.id for rollout in rollouts}) == 1
    assert (await kept.route()).revision == 1


async def test_the_judge_moves_it_on_and_the_route_follows(kept: Kept) -> None:
    rollout = await kept.started()
    rollout = await kept.judged(rollout, Verb.PROMOTE_STEP)
    assert (rollout.step, rollout.verdict, rollout.counted_until) == (1, GOOD, LATER)
    assert (await kept.route()).versions == {"1": 7500, "2": 2500}
    stored = await kept.rollouts.get(rollout.id)
    assert stored == (rollout, b'{"n":2}')

    rollout = await kept.judged(rollout, Verb.PROMOTE_STEP)
    assert (rollout.status, rollout.ended_at) == (RolloutStatus.PROMOTED, LATER)
    route = await kept.route()
    assert (route.versions, route.default, route.labels, route.rescue) == ({"2": 10_000}, "2", {"stable": "2"}, False)
    newest = (await kept.rollouts.events(rollout.id, limit=1))[0]
    assert (newest.event.status, newest.event.verdict, newest.evidence) == (RolloutStatus.PROMOTED, GOOD, b'{"n":1}')
    assert newest.event.revision == route.revision == rollout.revision
    assert await kept.rollouts.events(rollout.id, limit=1, counted=False) == [newest._replace(evidence=None)]


async def test_a_rollback_takes_the_share_away(kept: Kept) -> None:
    rollout = await kept.judged(await kept.started(), Verb.ROLLBACK, Verdict(Decision.ROLLBACK, "failed"))
    assert rollout.status is RolloutStatus.ROLLED_BACK
    route = await kept.route()
    assert (route.versions, route.labels, route.rescue) == ({"1": 10_000}, {"stable": "1"}, False)


async def test_what_was_judged_before_a_change_changes_nothing(kept: Kept) -> None:
    rollout = await kept.started()
    await kept.judged(rollout, Verb.HOLD, TOO_FEW)
    after = await kept.judged(rollout, Verb.ROLLBACK)
    assert (after.status, after.sequence) == (RolloutStatus.RUNNING, 2)
    assert await kept.verbs(rollout) == [Verb.START, Verb.HOLD]


async def test_of_two_controllers_and_a_person_at_one_time_nobody_undoes_the_other(kept: Kept) -> None:
    rollout = await kept.started()
    await asyncio.gather(
        kept.judged(rollout, Verb.PROMOTE_STEP),
        kept.judged(rollout, Verb.PROMOTE_STEP),
        kept.changed(rollout, Verb.ABORT),
        return_exceptions=True,
    )
    stored = await kept.rollouts.get(rollout.id)
    assert stored is not None
    assert stored.rollout.status is RolloutStatus.ABORTED, "a person is never passed over"
    events = [kept_event.event for kept_event in await kept.rollouts.events(rollout.id, limit=10)]
    assert [event.sequence for event in events] == list(range(stored.rollout.sequence, 0, -1))
    assert [event.verb for event in events].count(Verb.PROMOTE_STEP) <= 1
    assert (await kept.route()).versions == {"1": 10_000}
    assert (await kept.route()).revision == len(events)


async def test_a_verb_twice_is_once(kept: Kept) -> None:
    rollout = await kept.started()
    first = await kept.rollouts.change(rollout.id, Verb.ABORT, ANNA, LATER)
    second = await kept.rollouts.change(rollout.id, Verb.ABORT, ANNA, LATER + timedelta(seconds=1))
    assert (first.routed, second.routed) == (True, False)
    assert first.rollout == second.rollout
    assert await kept.verbs(rollout) == [Verb.START, Verb.ABORT]


async def test_a_verb_that_makes_no_sense_changes_nothing(kept: Kept) -> None:
    rollout = await kept.started()
    with pytest.raises(Conflict, match="cannot retry: it is running; abort it first"):
        await kept.changed(rollout, Verb.RETRY)
    assert await kept.verbs(rollout) == [Verb.START]
    with pytest.raises(NotFound, match="there is no rollout 'rollout_x'"):
        await kept.rollouts.change("rollout_x", Verb.ABORT, ANNA, NOW)


async def test_a_retry_begins_anew_from_what_is_stable_then(kept: Kept) -> None:
    rollout = await kept.judged(await kept.started(), Verb.ROLLBACK)
    await kept.routes.put("digits", WantedRoute(versions={"1b": 10_000}, default="1b"), Expect.WHATEVER, Author("anna"))
    rollout = await kept.changed(rollout, Verb.RETRY)
    assert (rollout.status, rollout.stable, rollout.step, rollout.attempt) == (RolloutStatus.RUNNING, "1b", 0, 2)
    assert (await kept.route()).versions == {"1b": 9500, "2": 500}
    stored = await kept.rollouts.get(rollout.id)
    assert stored is not None
    assert stored.evidence is None, "the evidence is fresh"


async def test_a_retry_where_the_route_was_deleted_is_refused(kept: Kept) -> None:
    """Who has the traffic then is the catalog's to say, and need not be who had it before."""
    rollout = await kept.changed(await kept.started(), Verb.ABORT)
    await kept.routes.delete("digits", Expect.ANY, Author("anna"))
    with pytest.raises(Conflict, match="digits has no route any more: start another rollout"):
        await kept.changed(rollout, Verb.RETRY)
    assert await kept.verbs(rollout) == [Verb.START, Verb.ABORT]
    newest = await kept.routes.newest("digits")
    assert newest is not None
    assert newest.route is None


@pytest.mark.parametrize(("stable", "version"), [("1", "canary"), ("1", "stable"), ("canary", "2"), ("stable", "2")])
async def test_versions_that_are_named_as_labels_are_get_no_route_that_nobody_takes(
    kept: Kept, stable: str, version: str
) -> None:
    with pytest.raises(Conflict, match=r"digits: labels\.(stable|canary) must not be a version's name"):
        await kept.rollouts.start(msgspec.structs.replace(PLAN, version=version), "rollout_1", stable, ANNA, NOW)
    assert await kept.rollouts.get("rollout_1") is None
    assert await kept.routes.newest("digits") is None


async def test_a_route_that_is_full_of_labels_has_no_room_for_a_rollout(kept: Kept) -> None:
    labels = {f"label-{number}": "1" for number in range(MAX_LABELS)}
    full = WantedRoute(versions={"1": 10_000}, default="1", labels=labels)
    await kept.routes.put("digits", full, Expect.NONE, Author("anna"))
    with pytest.raises(Conflict, match=f"labels must be at most {MAX_LABELS}"):
        await kept.started()
    await kept.routes.put("digits", ALL_OF_1, Expect.ANY, Author("anna"))
    rollout = await kept.changed(await kept.started(), Verb.ABORT)
    await kept.routes.put("digits", full, Expect.ANY, Author("anna"))
    with pytest.raises(Conflict, match=f"labels must be at most {MAX_LABELS}"):
        await kept.changed(rollout, Verb.RETRY)


async def test_what_was_before_a_route_was_deleted_tells_nothing_of_callers_now(kept: Kept) -> None:
    """Their keys were dealt by another salt."""
    await kept.routes.put("digits", ALL_OF_1, Expect.NONE, Author("anna"))
    deleted = await kept.routes.delete("digits", Expect.ANY, Author("anna"))
    assert (await kept.started()).stable_since == deleted.updated_at
    assert (await kept.started(model="minilm")).stable_since is None, "it never had a route"


@pytest.mark.parametrize(
    ("changes", "reaches"),
    [
        ([{"labels": {"mine": "1"}}, {"pins": (Pin("1", tenant="acme"),)}, {"versions": {"1": 10_000, "3": 0}}], 0),
        ([{"salt": "sand"}, {"salt": "sand", "labels": {"mine": "1"}}], 1),
        ([{"salt": "sand"}, {}], 2),
        ([{"sticky": Sticky("header:x-user")}], 1),
        ([{"versions": {"1": 9_000, "3": 1_000}}, {}], 2),
        ([{"versions": {"3": 10_000}, "default": "3"}], 1),
    ],
)
async def test_what_was_before_counts_since_keys_are_dealt_as_they_are(
    kept: Kept, changes: list[dict[str, Any]], reaches: int
) -> None:
    written = [await kept.routes.put("digits", ALL_OF_1, Expect.NONE, Author("anna"))]
    for fields in changes:
        wanted = msgspec.structs.replace(ALL_OF_1, **fields)
        written.append(await kept.routes.put("digits", wanted, Expect.ANY, Author("anna")))
    assert (await kept.started()).stable_since == written[reaches].updated_at


async def test_what_was_before_a_gap_in_the_history_is_not_known(kept: Kept) -> None:
    await kept.routes.put("digits", ALL_OF_1, Expect.NONE, Author("anna"))
    after = await kept.routes.put("digits", ALL_OF_1, Expect.ANY, Author("anna"), above=7)
    assert (await kept.started()).stable_since == after.updated_at


async def test_a_change_is_numbered_above_what_readers_have(kept: Kept) -> None:
    """The store may have been put back to an earlier state, and readers pass over what is older."""
    rollout = (await kept.rollouts.start(PLAN, "rollout_1", "1", ANNA, NOW, above=8)).rollout
    assert (rollout.revision, (await kept.route()).revision) == (9, 9)
    aborted = (await kept.rollouts.change(rollout.id, Verb.ABORT, ANNA, LATER, above=20)).rollout
    assert (aborted.revision, (await kept.route()).revision) == (21, 21)


async def test_a_retry_beside_another_rollout_is_refused(kept: Kept) -> None:
    ended = await kept.changed(await kept.started(), Verb.ABORT)
    other = await kept.started(version="3")
    with pytest.raises(Conflict, match=f"{other.id} of digits is running: abort it first"):
        await kept.changed(ended, Verb.RETRY)


async def test_while_a_rollout_has_the_route_nobody_else_writes_it(kept: Kept) -> None:
    rollout = await kept.started()
    told = f"{rollout.id} has the route of model 'digits': abort or promote it first"
    with pytest.raises(Conflict, match=told):
        await kept.routes.put("digits", ALL_OF_1, Expect.WHATEVER, Author("anna"))
    with pytest.raises(Conflict, match=told):
        await kept.routes.delete("digits", Expect.ANY, Author("anna"))
    await kept.changed(rollout, Verb.PAUSE)
    with pytest.raises(Conflict, match=told):
        await kept.routes.put("digits", ALL_OF_1, Expect.WHATEVER, Author("anna"))
    await kept.changed(rollout, Verb.ABORT)
    assert (await kept.routes.put("digits", ALL_OF_1, Expect.WHATEVER, Author("anna"))).revision == 3


async def test_pausing_leaves_the_route_alone(kept: Kept) -> None:
    rollout = await kept.changed(await kept.started(), Verb.PAUSE)
    assert ((await kept.route()).revision, rollout.revision) == (1, 1)
    assert [stored.rollout.id for stored in await kept.rollouts.running()] == []
    await kept.changed(rollout, Verb.RESUME)
    assert [stored.rollout.id for stored in await kept.rollouts.running()] == [rollout.id]


async def test_what_is_counted_goes_on_from_look_to_look_and_is_told_once(kept: Kept) -> None:
    rollout = await kept.started()
    for _ in range(3):
        rollout = await kept.judged(rollout, Verb.HOLD, TOO_FEW)
    assert (rollout.sequence, rollout.verdict) == (4, TOO_FEW)
    newest, first = await kept.rollouts.events(rollout.id, limit=10)
    assert (newest.event.verb, newest.event.sequence, newest.evidence) == (Verb.HOLD, 2, b'{"n":1}')
    assert first.event.verb is Verb.START
    assert [each.event.sequence for each in await kept.rollouts.events(rollout.id, before=2, limit=10)] == [1]
    assert list(await kept.rollouts.events(rollout.id, before=2**64, limit=10)) == [newest, first]


async def test_rollouts_are_listed_newest_first(kept: Kept) -> None:
    first = await kept.changed(await kept.started(), Verb.ABORT)
    second = await kept.started()
    other = await kept.started(model="minilm")

    async def listed(**wanted: Any) -> list[str]:
        return [rollout.id for rollout in await kept.rollouts.list(**{"limit": 10} | wanted)]

    newest_first = sorted([first.id, second.id, other.id], reverse=True)
    assert await listed() == newest_first
    assert await listed(limit=1) == newest_first[:1]
    assert await listed(after=newest_first[0]) == newest_first[1:]
    assert await listed(model="minilm") == [other.id]
    assert await listed(model="digits", status=RolloutStatus.ABORTED) == [first.id]


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
async def test_what_no_store_can_hold_is_not_found(kept: Kept, text: str) -> None:
    assert await kept.rollouts.get(text) is None
    assert await kept.rollouts.events(text, limit=1) == []
    assert await kept.rollouts.list(model=text, limit=1) == []
    with pytest.raises(NotFound):
        await kept.rollouts.change(text, Verb.ABORT, ANNA, NOW)


async def test_ended_rollouts_are_kept_for_a_year_and_a_day(shared_dsn: str, postgres_kept: Kept) -> None:
    kept = postgres_kept
    ended = await kept.changed(await kept.started(), Verb.ABORT)
    running = await kept.started()
    purging = PostgresPurging(shared_dsn, DEFAULT_RETENTION)
    rows = {purged.table: purged.rows async for purged in purging.purge(LATER + ROLLOUTS_KEPT) if purged.rows}
    assert "rollouts" not in rows
    later = LATER + ROLLOUTS_KEPT + timedelta(seconds=1)
    rows = {purged.table: purged.rows async for purged in purging.purge(later) if purged.rows}
    assert rows["rollouts"] == 1
    assert await kept.rollouts.get(ended.id) is None
    assert await kept.rollouts.events(ended.id, limit=10) == []
    assert await kept.rollouts.get(running.id) is not None


@pytest.mark.parametrize("verb", [Verb.HOLD, Verb.WEIGH])
async def test_of_what_is_told_for_ever_the_newest_are_kept(
    postgres_kept: Kept, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    monkeypatch.setattr("stores.postgres.rollouts.OFTEN_KEPT", 3)
    monkeypatch.setattr("stores.postgres.rollouts.OFTEN_EXPLAINED", 2)
    rollout = await postgres_kept.started()
    for number in range(5):
        share = 1000 + 100 * number
        rollout = await postgres_kept.judged(rollout, verb, Verdict(Decision.HOLD, f"reason {number}", share=share))
    events = await postgres_kept.rollouts.events(rollout.id, limit=10)
    assert [kept.event.sequence for kept in events] == [6, 5, 4, 1]
    assert [kept.evidence is not None for kept in events] == [True, True, False, False]


async def written_by_a_newer_version(dsn: str, verb: Verb) -> None:
    """The rollouts of digits, and all events of this verb."""
    await execute(
        dsn,
        f"""
        update rollouts set document = jsonb_set(document::jsonb, '{{status}}', '"dreaming"')::json
        where model = 'digits';
        update rollout_events set document = jsonb_set(document::jsonb, '{{verb}}', '"dream"')::json
        where verb = '{verb}'
        """,  # noqa: S608 - a verb of ours
    )


async def test_one_that_a_newer_version_has_written_is_passed_over_and_told_of_once(
    shared_dsn: str, postgres_kept: Kept
) -> None:
    newer, other = await postgres_kept.started(), await postgres_kept.started(model="minilm")
    await postgres_kept.judged(newer, Verb.HOLD, TOO_FEW)
    await written_by_a_newer_version(shared_dsn, Verb.START)
    with capture_logs() as logs:
        for _ in range(2):
            assert [stored.rollout.id for stored in await postgres_kept.rollouts.running()] == [other.id]
            assert [rollout.id for rollout in await postgres_kept.rollouts.list(limit=9)] == [other.id]
    assert [(each["event"], each["rollout"]) for each in logs] == [("a rollout is passed over", newer.id)]
    assert [kept.event.sequence for kept in await postgres_kept.rollouts.events(newer.id, limit=9)] == [2]
    for asked in (postgres_kept.rollouts.get(newer.id), postgres_kept.changed(newer, Verb.ABORT)):
        with pytest.raises(StoreUnavailable, match="was written by a newer version"):
            await asked
    assert (await postgres_kept.changed(other, Verb.ABORT)).status is RolloutStatus.ABORTED


async def test_what_is_passed_over_makes_no_page_the_last_one(shared_dsn: str, postgres_kept: Kept) -> None:
    others = [await postgres_kept.started(model=f"other-{number}") for number in range(2)]
    newer = await postgres_kept.started()
    await postgres_kept.judged(newer, Verb.HOLD, TOO_FEW)
    await written_by_a_newer_version(shared_dsn, Verb.HOLD)
    assert [each.id for each in await postgres_kept.rollouts.list(limit=2)] == [others[1].id, others[0].id]
    assert [kept.event.sequence for kept in await postgres_kept.rollouts.events(newer.id, limit=1)] == [1]


async def test_another_input_is_refused_unless_the_plan_says_so_and_what_differs_is_kept(kept: Kept) -> None:
    beside = {"1": ("inputs", "outputs"), "3": ()}
    with pytest.raises(Conflict, match="digits/2 takes other inputs than version 1"):
        await kept.rollouts.start(PLAN, "rollout_1", "1", ANNA, NOW, beside=beside)
    plan = msgspec.structs.replace(PLAN, other_inputs=True)
    started = (await kept.rollouts.start(plan, "rollout_1", "1", ANNA, NOW, beside=beside)).rollout
    assert started.differs == ("inputs", "outputs")
    await kept.changed(started, Verb.ABORT)
    retried = await kept.rollouts.change("rollout_1", Verb.RETRY, ANNA, LATER, beside={"1": ("outputs",)})
    assert retried.rollout.differs == ("outputs",)


async def test_a_plan_is_read_as_it_was_written(kept: Kept) -> None:
    plan: Plan = read_plan(
        b'{"model":"digits","version":"2","steps":[0.5],"rescue":false,"strategy":"canary","step_time_s":1.5,'
        b'"guardrails":[{"kind":"slow","margin":2,"dry_run":true}]}'
    )
    rollout = (await kept.rollouts.start(plan, "rollout_1", "1", ANNA, NOW)).rollout
    stored = await kept.rollouts.get("rollout_1")
    assert stored is not None
    assert stored.rollout == rollout
    assert stored.rollout.plan == plan
    assert not (await kept.route()).rescue
