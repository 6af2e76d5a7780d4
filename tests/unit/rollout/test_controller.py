"""The controller over the twins: what it makes of what workers counted."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import pytest
from structlog.testing import capture_logs

from schemas.errors import QueueUnavailable, StoreUnavailable
from schemas.feedback import Told
from schemas.rollout_plans import read_plan
from schemas.rollout_transitions import Inputs
from schemas.rollouts import Decision, Guardrail, Kind, Plan, Rollout, RolloutStatus, Verb
from schemas.route_documents import WantedRoute
from schemas.stats import INTERVAL_S, NOTHING, Counts, End, added, interval_start
from schemas.topics import LaneClass
from stores.memory import MemoryJobs
from stores.memory_feedback import MemoryFeedback
from stores.memory_rollouts import MemoryRollouts
from stores.memory_routes import MemoryRoutes
from stores.rollouts import StoredRollout
from stores.routes import Author, Expect
from tests.contracts.stores.building import NOW, ended, queued
from workers.rollout import looking
from workers.rollout.controller import Controller
from workers.rollout.judging import judge
from workers.rollout.judging.evidence import Around, Evidence, Tally
from workers.rollout.windows import BUCKET_S

PLAN = read_plan(
    b'{"model":"digits","version":"2","steps":[5,25,100],"step_time_s":20,"guardrails":[{"kind":"failed"}]}'
)
ANNA = Inputs("anna")
ALL_OF_1 = WantedRoute(versions={"1": 10_000}, default="1")


class Site:
    """Routes, rollouts, workers that count, and controllers that look, by a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW
        self.routes = MemoryRoutes(lambda: self.now)
        self.rollouts = MemoryRollouts(self.routes)
        self.jobs = MemoryJobs(lambda: self.now)
        self.feedback = MemoryFeedback(self.jobs)
        self.counts: dict[tuple[str, datetime], Counts] = {}
        self.percent = 5
        self.keeping = True
        self.stale_s = 0.0
        self.around = Around()
        self.told: list[int | None] = []
        self.fail_telling: list[Exception] = []
        self.controller = self.another()

    def another(self) -> Controller:
        return Controller(
            self.rollouts,
            self.feedback,
            self.between,
            self.read_until,
            self,
            lambda: self.now,
            lambda _: self.around,
        )

    def read_until(self) -> datetime | None:
        return self.now - timedelta(seconds=self.stale_s) if self.keeping else None

    def between(
        self, _model: str, versions: Sequence[str], lane: LaneClass, since: datetime, until: datetime
    ) -> Mapping[str, Counts]:
        assert lane is LaneClass.LIVE
        length = timedelta(seconds=INTERVAL_S)
        return {
            version: added(
                NOTHING,
                *(
                    counts
                    for (name, began_at), counts in self.counts.items()
                    if name == version and since <= began_at and began_at + length <= until
                ),
            )
            for version in versions
        }

    async def tell(self, model: str) -> int | None:
        if self.fail_telling:
            raise self.fail_telling.pop(0)
        newest = await self.routes.newest(model)
        self.told.append(None if newest is None else newest.revision)
        return self.told[-1]

    async def started(self, plan: Plan = PLAN) -> Rollout:
        return (await self.rollouts.start(plan, f"rollout_{plan.model}", "1", ANNA, self.now)).rollout

    async def stored(self, model: str = "digits") -> StoredRollout:
        stored = await self.rollouts.get(f"rollout_{model}")
        assert stored is not None
        return stored

    async def rollout(self) -> Rollout:
        return (await self.stored()).rollout

    async def shares(self) -> dict[str, int]:
        newest = await self.routes.newest("digits")
        assert newest is not None
        assert newest.route is not None
        return newest.route.versions

    def count(self, version: str, succeeded: int, failed: int = 0, revision: int | None = None) -> None:
        """In the interval that is going on, evenly over the cohorts that the version has."""
        first = 100 - self.percent
        mine = range(first, 100) if version == "2" else range(first)
        kinds = {End.SUCCEEDED: succeeded, End.FAILED: failed}
        ends = {
            kind: {cohort: jobs // len(mine) + (number < jobs % len(mine)) for number, cohort in enumerate(mine)}
            for kind, jobs in kinds.items()
            if jobs
        }
        key, revisions = (version, interval_start(self.now)), None if revision is None else (revision, revision)
        self.counts[key] = added(self.counts.get(key, NOTHING), Counts(ends=ends, revisions=revisions))

    async def passes(self, seconds: float, *, good: int = 0, bad: int = 0, stable: int = 0) -> None:
        """Each interval with so many jobs of the canary, good and bad, and of the stable version; a look a second."""
        until = self.now + timedelta(seconds=seconds)
        while self.now < until:
            if good or bad:
                self.count("2", good, bad)
            if stable:
                self.count("1", stable)
            for _ in range(INTERVAL_S):
                self.now += timedelta(seconds=1)
                await self.controller.look()
            self.percent = (await self.shares()).get("2", 0) // 100

    async def told_of(self, version: str, good: int, bad: int) -> None:
        """Of jobs that end now callers tell at once."""
        for number in range(good + bad):
            job = queued(version=version, cohort=99 if version == "2" else 0, created_at=self.now)
            await self.jobs.finish([ended(job, completed_at=self.now)])
            await self.feedback.tell([Told("default", job.id, self.now, float(number < good))])

    async def verbs(self) -> list[Verb]:
        return [kept.event.verb for kept in reversed(await self.rollouts.events("rollout_digits", limit=100))]


@pytest.fixture
def site() -> Site:
    return Site()


async def test_a_version_that_answers_otherwise_as_a_shadow_of_the_stable_one_is_taken_back(site: Site) -> None:
    await site.started(msgspec.structs.replace(PLAN, guardrails=(Guardrail(Kind.DISAGREE),)))
    for _ in range(40):
        key = "2", interval_start(site.now)
        pairs = Counts(shadowed={"1": 20, "9": 500}, disagreed={"1": 10})
        site.counts[key] = added(site.counts.get(key, NOTHING), pairs)
        await site.passes(INTERVAL_S, good=10, stable=90)
    rollout = await site.rollout()
    assert rollout.status is RolloutStatus.ROLLED_BACK
    assert rollout.verdict is not None
    assert rollout.verdict.reason == "disagree"


async def test_a_version_that_fails_is_taken_back_by_the_first_interval_that_shows_it(site: Site) -> None:
    await site.started()
    await site.passes(INTERVAL_S + 2, bad=50, stable=950)
    rollout = await site.rollout()
    assert (rollout.status, rollout.updated_by) == (RolloutStatus.ROLLED_BACK, "controller")
    assert await site.shares() == {"1": 10_000}
    assert site.told == [2]
    assert await site.verbs() == [Verb.START, Verb.HOLD, Verb.ROLLBACK]
    assert rollout.verdict is not None
    assert (rollout.verdict.decision, rollout.verdict.reason) == (Decision.ROLLBACK, "failed")
    newest = (await site.rollouts.events("rollout_digits", limit=1))[0]
    assert newest.evidence is not None
    found = judge.verdict(msgspec.json.decode(newest.evidence, type=Evidence), newest.event.at, INTERVAL_S)
    assert found == newest.event.verdict, "it can be made again from what was kept"


async def test_a_good_version_goes_through_all_steps_by_itself(site: Site) -> None:
    await site.started()
    await site.passes(80, good=500, stable=9500)
    assert (await site.rollout()).status is RolloutStatus.PROMOTED
    assert await site.shares() == {"2": 10_000}
    verbs = [verb for verb in await site.verbs() if verb is not Verb.HOLD]
    assert verbs == [Verb.START, Verb.PROMOTE_STEP, Verb.PROMOTE_STEP]
    assert site.told == [2, 3]


async def test_a_step_has_its_time_and_what_was_counted_is_kept_at_each_look(site: Site) -> None:
    await site.started()
    await site.passes(15, good=500, stable=9500)
    stored = await site.stored()
    assert (stored.rollout.step, stored.rollout.status) == (0, RolloutStatus.RUNNING)
    assert stored.rollout.counted_until == interval_start(site.now)
    assert stored.evidence is not None
    assert msgspec.json.decode(stored.evidence, type=Evidence).intervals >= 2


async def test_without_counts_it_holds_on_and_says_why(site: Site) -> None:
    await site.started()
    await site.passes(60)
    rollout = await site.rollout()
    assert rollout.verdict is not None
    assert (rollout.verdict.decision, rollout.verdict.reason) == (Decision.HOLD, "stats_stale")
    assert await site.shares() == {"1": 9500, "2": 500}


@pytest.mark.parametrize("late", ["1", "2"])
async def test_counts_of_a_version_that_come_some_seconds_late_are_judged(site: Site, late: str) -> None:
    await site.started()
    jobs: dict[str, tuple[int, int]] = {"1": (950, 0), "2": (0, 50)}
    began_at = site.now
    for version in jobs.keys() - {late}:
        site.count(version, *jobs[version])
    site.now = interval_start(began_at) + timedelta(seconds=INTERVAL_S)
    await site.controller.look()
    assert (await site.rollout()).counted_until == began_at
    site.now = began_at
    site.count(late, *jobs[late])
    site.now = interval_start(began_at) + timedelta(seconds=INTERVAL_S + 4)
    await site.controller.look()
    assert (await site.rollout()).status is RolloutStatus.ROLLED_BACK


async def test_a_version_without_any_jobs_is_not_waited_for_longer(site: Site) -> None:
    await site.started()
    began_at = interval_start(site.now)
    await site.passes(3 * INTERVAL_S, stable=950)
    site.now = began_at + timedelta(seconds=3 * INTERVAL_S)
    await site.controller.look()
    rollout = await site.rollout()
    assert rollout.counted_until == began_at + timedelta(seconds=2 * INTERVAL_S)
    assert rollout.verdict is not None
    assert rollout.verdict.reason == "no_traffic"


async def test_counts_that_stay_away_promote_nothing(site: Site) -> None:
    await site.started(msgspec.structs.replace(PLAN, step_time_s=60))
    await site.passes(30, good=500, stable=9500)
    for _ in range(60):
        site.now += timedelta(seconds=1)
        site.stale_s += 1.0
        await site.controller.look()
    rollout = await site.rollout()
    assert rollout.verdict is not None
    assert (rollout.step, rollout.verdict.reason) == (0, "stats_stale")


async def test_whoever_does_not_keep_the_counts_does_not_judge(site: Site) -> None:
    await site.started()
    site.keeping = False
    await site.passes(30, bad=50, stable=950)
    assert await site.verbs() == [Verb.START]
    site.keeping = True
    await site.controller.look()
    assert (await site.rollout()).status is RolloutStatus.ROLLED_BACK


async def test_a_paused_rollout_is_left_alone_and_its_pause_is_not_counted(site: Site) -> None:
    await site.started()
    await site.rollouts.change("rollout_digits", Verb.PAUSE, ANNA, site.now)
    await site.passes(30, bad=50, stable=950)
    assert (await site.rollout()).status is RolloutStatus.PAUSED
    site.now += timedelta(seconds=INTERVAL_S)
    await site.rollouts.change("rollout_digits", Verb.RESUME, ANNA, site.now)
    await site.passes(10, good=50, stable=950)
    assert (await site.rollout()).status is RolloutStatus.RUNNING


@pytest.mark.parametrize("resumed", [False, True])
async def test_a_gateway_whose_clock_is_ahead_keeps_nothing_from_being_judged(site: Site, resumed: bool) -> None:
    ahead = site.now + timedelta(hours=1)
    await site.rollouts.start(PLAN, "rollout_digits", "1", ANNA, site.now if resumed else ahead)
    if resumed:
        await site.passes(INTERVAL_S, good=50, stable=950)
        await site.rollouts.change("rollout_digits", Verb.PAUSE, ANNA, ahead)
        await site.rollouts.change("rollout_digits", Verb.RESUME, ANNA, ahead)
    await site.passes(2 * INTERVAL_S + 2, bad=50, stable=950)
    assert (await site.rollout()).status is RolloutStatus.ROLLED_BACK


async def test_two_controllers_are_one(site: Site) -> None:
    await site.started()
    other = site.another()
    for _ in range(3):
        site.count("2", 0, 50)
        site.count("1", 950)
        site.now += timedelta(seconds=INTERVAL_S + 1)
        stored = await site.rollouts.running()
        for controller in (site.controller, other):
            for each in stored:  # both have read the same
                await controller._judge(each, site.now)
    assert (await site.verbs()).count(Verb.ROLLBACK) == 1
    assert site.told == [2]


async def test_what_could_not_be_told_is_told_at_the_next_look(site: Site) -> None:
    await site.started()
    site.fail_telling = [QueueUnavailable("Kafka is away")] * 2
    await site.passes(INTERVAL_S + 2, bad=50, stable=950)
    assert (await site.rollout()).status is RolloutStatus.ROLLED_BACK
    await site.passes(INTERVAL_S)
    assert site.told == [2]


async def test_a_store_that_is_away_is_trouble_until_it_is_back(site: Site) -> None:
    await site.started()
    site.rollouts.down = True
    await site.passes(INTERVAL_S * 2, bad=50, stable=950)
    troubles = [site.controller.trouble]
    site.rollouts.down = False
    await site.controller.look()
    assert [*troubles, site.controller.trouble] == ["the rollouts are down", None]
    assert (await site.rollout()).status is RolloutStatus.ROLLED_BACK


async def test_the_trouble_of_a_store_is_not_that_of_whoever_judges_no_more(site: Site) -> None:
    await site.started()
    site.rollouts.down = True
    await site.controller.look()
    assert site.controller.trouble == "the rollouts are down"
    site.keeping = False  # another does now
    await site.controller.look()
    assert site.controller.trouble is None


async def test_a_store_that_takes_no_change_is_trouble_and_is_told_of_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise StoreUnavailable("read only")

    monkeypatch.setattr(site.rollouts, "change", refused)
    await site.started()
    await site.started(msgspec.structs.replace(PLAN, model="other"))
    with capture_logs() as logs:
        for _ in range(3):
            await site.controller.look()
            assert site.controller.trouble == "read only"
    assert [each["reason"] for each in logs] == ["read only"]


async def test_one_that_cannot_be_judged_keeps_no_other_from_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.started(msgspec.structs.replace(PLAN, model="broken"))
    await site.started()

    def look(stored: StoredRollout, *rest: object) -> looking.Look:
        if stored.rollout.plan.model == "broken":
            raise ZeroDivisionError
        return looking.look(stored, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("workers.rollout.controller.look", look)
    await site.passes(INTERVAL_S + 2, bad=50, stable=950)
    assert (await site.rollout()).status is RolloutStatus.ROLLED_BACK
    assert (await site.stored("broken")).rollout.status is RolloutStatus.RUNNING


async def test_what_cannot_be_judged_is_told_once_for_each_reason(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = [ZeroDivisionError("a"), ZeroDivisionError("a"), ValueError("b"), ValueError("b")]

    def look(*_: object) -> looking.Look:
        raise errors[0]

    monkeypatch.setattr("workers.rollout.controller.look", look)
    await site.started()
    with capture_logs() as logs:
        while errors:
            await site.controller.look()
            errors.pop(0)
    assert [type(each["exc_info"]) for each in logs] == [ZeroDivisionError, ValueError]


async def test_a_retry_within_the_interval_of_the_last_failures_does_not_count_them_again(site: Site) -> None:
    await site.started(msgspec.structs.replace(PLAN, step_time_s=600))
    site.count("1", 950)
    site.count("2", 0, 50, revision=1)
    site.now += timedelta(seconds=INTERVAL_S + 1)
    await site.controller.look()
    assert (await site.rollout()).status is RolloutStatus.ROLLED_BACK
    site.count("2", 0, 30, revision=1)  # ends of what ran when it was taken back
    await site.rollouts.change("rollout_digits", Verb.RETRY, ANNA, site.now)
    site.count("2", 50, revision=3)
    site.count("1", 950)
    site.counts["2", interval_start(site.now)] = msgspec.structs.replace(
        site.counts["2", interval_start(site.now)], revisions=(1, 3)
    )
    site.now += timedelta(seconds=INTERVAL_S + 1)
    await site.controller.look()
    rollout = await site.rollout()
    assert (rollout.status, rollout.attempt, rollout.revision) == (RolloutStatus.RUNNING, 2, 3)
    site.count("2", 0, 50, revision=3)
    site.count("1", 950)
    site.now += timedelta(seconds=INTERVAL_S)
    await site.controller.look()
    assert (await site.rollout()).status is RolloutStatus.ROLLED_BACK, "its own failures count at once"


async def test_a_version_without_a_worker_goes_on_to_no_step(site: Site) -> None:
    await site.started()
    site.around = Around(workers=0)
    await site.passes(40, good=500, stable=9500)
    rollout = await site.rollout()
    assert rollout.verdict is not None
    assert (rollout.step, rollout.verdict.reason) == (0, "no_workers")
    site.around = Around(workers=1)
    await site.passes(40, good=500, stable=9500)
    assert (await site.rollout()).status is RolloutStatus.PROMOTED


async def test_what_it_writes_is_above_what_gateways_go_by_and_nothing_moves_on_by_a_route_of_others(
    site: Site,
) -> None:
    await site.started()
    site.around = Around(followed=7)  # and the database, which was put back, has revision 1
    await site.passes(40, good=500, stable=9500)
    rollout = await site.rollout()
    assert rollout.verdict is not None
    assert (rollout.step, rollout.verdict.reason) == (0, "srm")
    assert "gateways go by revision 7 of the route, and the rollout has written 1" in rollout.verdict.told
    await site.passes(INTERVAL_S + 2, bad=100, stable=950)
    rollout = await site.rollout()
    assert (rollout.status, rollout.revision, site.told) == (RolloutStatus.ROLLED_BACK, 8, [8])


async def test_a_controller_that_was_away_takes_in_a_part_at_each_look(site: Site) -> None:
    await site.started()
    for _ in range(50):
        site.count("2", 10)
        site.count("1", 190)
        site.now += timedelta(seconds=INTERVAL_S)
    taken = []
    for _ in range(3):
        await site.controller.look()
        stored = await site.stored()
        assert stored.evidence is not None
        taken.append(msgspec.json.decode(stored.evidence, type=Evidence).intervals)
    assert taken == [looking.MOST_INTERVALS, 2 * looking.MOST_INTERVALS, 50]


async def test_what_may_be_summed_up_of_one_version_alone_is_passed_over(site: Site) -> None:
    await site.started()
    site.count("2", 0, 50)
    site.count("1", 0, 950)
    site.now = interval_start(site.now) + timedelta(seconds=BUCKET_S)
    site.count("2", 10)
    site.count("1", 190)
    site.now += timedelta(seconds=INTERVAL_S)
    for _ in range(BUCKET_S // INTERVAL_S // looking.MOST_INTERVALS + 1):
        await site.controller.look()
    stored = await site.stored()
    assert stored.evidence is not None
    assert msgspec.json.decode(stored.evidence, type=Evidence).kinds[Kind.FAILED].canary == Tally(10, 0)
    assert stored.rollout.counted_until == site.now


@pytest.mark.parametrize(("history_s", "known_s"), [(7200, 7200.0), (600, 0.0)])
async def test_what_the_stable_version_did_before_is_told_to_the_judge(
    site: Site, history_s: int, known_s: float
) -> None:
    began_at = interval_start(NOW)
    for seconds in range(0, history_s, 300):
        site.now = began_at - timedelta(seconds=seconds + 300)
        site.count("1", 10, 1)
    site.now = began_at - timedelta(seconds=7200)
    await site.routes.put("digits", ALL_OF_1, Expect.NONE, Author("anna"))
    site.now = began_at
    await site.started()
    site.now += timedelta(seconds=1)
    await site.controller.look()
    evidence = (await site.stored()).evidence
    assert evidence is not None
    history = msgspec.json.decode(evidence, type=Evidence).history
    assert history.seconds == known_s
    assert history.tallies


async def test_evidence_that_cannot_be_read_is_gathered_anew(site: Site) -> None:
    await site.started(msgspec.structs.replace(PLAN, step_time_s=60))
    await site.passes(20, good=500, stable=9500)
    rollout, _ = await site.stored()
    site.rollouts._rollouts[rollout.id] = StoredRollout(rollout, b'{"of":"another version"}')
    await site.passes(10, good=500, stable=9500)
    evidence = (await site.stored()).evidence
    assert evidence is not None
    assert 0 < msgspec.json.decode(evidence, type=Evidence).intervals <= 2


async def test_what_was_counted_since_a_rollout_began_is_none_of_what_was_before(site: Site) -> None:
    await site.started()
    await site.passes(30, good=500, stable=9500)
    rollout, _ = await site.stored()
    site.rollouts._rollouts[rollout.id] = StoredRollout(rollout, b'{"of":"another version"}')
    await site.controller.look()
    stored = await site.stored()
    assert (stored.rollout.step, stored.evidence is None) == (1, False)
    history = msgspec.json.decode(stored.evidence or b"", type=Evidence).history
    assert not any(history.tallies.values())


OUTCOMES = read_plan(
    b'{"model":"digits","version":"2","steps":[5,25,100],"step_time_s":60,"feedback_delay_s":30,'
    b'"guardrails":[{"kind":"outcome_bad"}]}'
)
BANDIT = read_plan(
    b'{"model":"digits","version":"2","strategy":"bandit","steps":[10],"step_time_s":60,"feedback_delay_s":10}'
)


async def test_a_version_whose_answers_callers_call_bad_is_taken_back_once_they_had_their_time(site: Site) -> None:
    await site.started(OUTCOMES)
    await site.told_of("2", 0, 30)
    await site.told_of("1", 300, 3)
    await site.passes(25, good=50, stable=950)
    assert (await site.rollout()).status is RolloutStatus.RUNNING
    await site.passes(15, good=50, stable=950)
    rollout = await site.rollout()
    assert rollout.status is RolloutStatus.ROLLED_BACK
    assert rollout.verdict is not None
    assert rollout.verdict.reason == Kind.OUTCOME_BAD


async def test_an_outcome_counts_once_whoever_looks_and_however_often(site: Site) -> None:
    await site.started(OUTCOMES)
    await site.told_of("2", 5, 1)
    await site.told_of("1", 50, 3)
    other = site.another()
    for _ in range(10):
        await site.passes(5, good=50, stable=950)
        await other.look()
        site.controller = site.another()
    stored = await site.stored()
    assert stored.evidence is not None
    known = msgspec.json.decode(stored.evidence, type=Evidence).kinds[Kind.OUTCOME_BAD]
    assert (known.stable, known.canary) == (Tally(53, 3), Tally(6, 1))


async def test_outcomes_of_jobs_from_before_the_step_do_not_count_but_for_what_callers_were_like(site: Site) -> None:
    await site.told_of("1", 30, 20)
    site.now += timedelta(seconds=20)
    await site.routes.put("digits", ALL_OF_1, Expect.NONE, Author("anna"))
    site.now += timedelta(seconds=1)
    await site.told_of("1", 40, 10)
    site.now += timedelta(seconds=10)
    await site.started(OUTCOMES)
    await site.passes(50, good=50, stable=950)
    stored = await site.stored()
    assert stored.evidence is not None
    evidence = msgspec.json.decode(stored.evidence, type=Evidence)
    assert evidence.kinds[Kind.OUTCOME_BAD].stable == Tally()
    assert evidence.history.tallies[Kind.OUTCOME_BAD] == {0: Tally(50, 10)}


async def test_outcomes_are_asked_for_once_an_interval_and_not_at_each_look(site: Site) -> None:
    await site.started(OUTCOMES)
    await site.passes(2 * INTERVAL_S + 2, good=50, stable=950)
    stored = await site.stored()
    taken_in_until = stored.rollout.counted_until
    assert looking.asked(stored, taken_in_until + timedelta(seconds=INTERVAL_S - 1)) == (None, None)
    recent, _ = looking.asked(stored, taken_in_until + timedelta(seconds=INTERVAL_S))
    assert recent is not None
    assert recent.until - recent.since == timedelta(seconds=INTERVAL_S)


async def test_what_callers_were_like_is_asked_as_a_few_sums_however_long_it_was(site: Site) -> None:
    await site.routes.put("digits", ALL_OF_1, Expect.NONE, Author("anna"))
    for _ in range(20):
        site.now += timedelta(seconds=INTERVAL_S)
        await site.told_of("1", 1, 1)
    site.now += timedelta(seconds=INTERVAL_S)
    await site.started(OUTCOMES)
    _, before = looking.asked(await site.stored(), site.now)
    assert before is not None
    sums = await site.feedback.outcomes(*before)
    assert sum(each.jobs for each in sums) == 40
    assert len(sums) <= 2  # a day, or parts of two


async def test_a_bandits_share_follows_from_outcomes_and_each_move_can_be_made_again(site: Site) -> None:
    site.percent = 10
    await site.started(BANDIT)
    for _ in range(3):
        await site.told_of("2", 40, 2)
        await site.told_of("1", 40, 40)
        await site.passes(65, good=50, stable=950)
    rollout = await site.rollout()
    assert (rollout.status, rollout.share) == (RolloutStatus.RUNNING, 4000)
    assert await site.shares() == {"1": 6000, "2": 4000}
    events = [kept for kept in await site.rollouts.events("rollout_digits", limit=100) if kept.event.verb is Verb.WEIGH]
    assert [kept.event.weight for kept in events] == [40.0, 30.0, 20.0]
    for kept in events:
        assert kept.evidence is not None
        found = judge.verdict(msgspec.json.decode(kept.evidence, type=Evidence), kept.event.at, INTERVAL_S)
        assert found == kept.event.verdict


async def test_a_bandit_that_wins_comes_to_all_of_the_traffic(site: Site) -> None:
    site.percent = 10
    await site.started(BANDIT)
    await site.told_of("2", 95, 5)
    await site.told_of("1", 50, 50)
    await site.passes(11 * 65, good=50, stable=950)
    assert (await site.rollout()).status is RolloutStatus.PROMOTED
    assert await site.shares() == {"2": 10_000}


async def test_outcomes_that_cannot_be_read_hold_a_rollout_up_and_no_other(site: Site) -> None:
    await site.started(OUTCOMES)
    site.feedback.down = True
    with capture_logs() as logs:
        await site.passes(10, good=50, stable=950)
    assert site.controller.trouble is not None
    assert [line["event"] for line in logs] == ["rollouts cannot be judged for now"]
    assert (await site.stored()).evidence is None
