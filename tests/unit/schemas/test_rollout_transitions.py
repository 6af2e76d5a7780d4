"""Every verb from every state, whatever led there."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schemas.errors import Conflict
from schemas.rollout_plans import read_plan
from schemas.rollout_routes import routed, stable_of
from schemas.rollout_transitions import VERBS, Inputs, Transition, start, transition, verb_of
from schemas.rollouts import JUDGES, OPEN, Decision, Rollout, RolloutStatus, Verb, Verdict
from schemas.routes import CANARY, STABLE, WHOLE, Route

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP_S = 60.0
PLAN = read_plan(b'{"model":"digits","version":"2","steps":[1,5,25,100],"step_time_s":60}')
ROUTE = Route(
    model="digits",
    revision=7,
    versions={"1": WHOLE},
    default="1",
    labels={"mine": "1"},
    salt="grain",
    updated_at=NOW,
    updated_by="somebody",
)
ANNA = Inputs("anna")
# From which state which verb of a person leads where; all others are refused.
LEADS = {
    (RolloutStatus.RUNNING, Verb.PAUSE): RolloutStatus.PAUSED,
    (RolloutStatus.PAUSED, Verb.PAUSE): RolloutStatus.PAUSED,
    (RolloutStatus.RUNNING, Verb.RESUME): RolloutStatus.RUNNING,
    (RolloutStatus.PAUSED, Verb.RESUME): RolloutStatus.RUNNING,
    (RolloutStatus.RUNNING, Verb.ABORT): RolloutStatus.ABORTED,
    (RolloutStatus.PAUSED, Verb.ABORT): RolloutStatus.ABORTED,
    (RolloutStatus.ABORTED, Verb.ABORT): RolloutStatus.ABORTED,
    (RolloutStatus.ROLLED_BACK, Verb.ABORT): RolloutStatus.ROLLED_BACK,
    (RolloutStatus.RUNNING, Verb.PROMOTE): RolloutStatus.PROMOTED,
    (RolloutStatus.PAUSED, Verb.PROMOTE): RolloutStatus.PROMOTED,
    (RolloutStatus.PROMOTED, Verb.PROMOTE): RolloutStatus.PROMOTED,
    (RolloutStatus.ABORTED, Verb.RETRY): RolloutStatus.RUNNING,
    (RolloutStatus.ROLLED_BACK, Verb.RETRY): RolloutStatus.RUNNING,
}


def judged(decision: Decision, reason: str = "failed", **fields: Any) -> Inputs:
    return Inputs("controller", verdict=Verdict(decision, reason), **fields)


def started() -> Rollout:
    return start(PLAN, "rollout_1", "1", ANNA, NOW).rollout


def after(rollout: Rollout, *verbs: Verb, now: datetime = NOW) -> Rollout:
    for verb in verbs:
        rollout = transition(rollout, verb, ANNA, now).rollout
    return rollout


def in_state(status: RolloutStatus) -> Rollout:
    verbs = {
        RolloutStatus.RUNNING: [],
        RolloutStatus.PAUSED: [Verb.PAUSE],
        RolloutStatus.PROMOTED: [Verb.PROMOTE],
        RolloutStatus.ROLLED_BACK: [Verb.ROLLBACK],
        RolloutStatus.ABORTED: [Verb.ABORT],
    }
    return after(started(), *verbs[status])


class Rollouts(RuleBasedStateMachine):
    """One rollout and its route, under verbs of people and of the judge in any order."""

    @initialize()
    def begin(self) -> None:
        self.now = NOW
        self.rollout = started()
        self.route = routed(self.rollout, ROUTE)
        self.events = 1

    @rule(verb=st.sampled_from(sorted(VERBS)), seconds=st.sampled_from([0.0, 1.0, STEP_S]))
    def somebody_asks(self, verb: Verb, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        before = self.rollout
        leads = LEADS.get((before.status, verb))
        if verb is Verb.RETRY and before.status is RolloutStatus.RUNNING and before.attempt > 1:
            leads = RolloutStatus.RUNNING
        if leads is None:
            with pytest.raises(Conflict, match=verb):
                transition(before, verb, ANNA, self.now)
            return
        self.take(transition(before, verb, ANNA, self.now))
        assert self.rollout.status is leads
        assert transition(self.rollout, verb, ANNA, self.now) == Transition(self.rollout), "twice is once"

    @rule(decision=st.sampled_from(Decision), seconds=st.sampled_from([0.0, 1.0, STEP_S]))
    def the_judge_finds(self, decision: Decision, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        before = self.rollout
        inputs = judged(decision, counted_until=self.now)
        verb = verb_of(before, Verdict(decision, "failed"), self.now)
        self.take(transition(before, verb, inputs, self.now))
        if before.status is not RolloutStatus.RUNNING:
            assert self.rollout is before, "who is not running is not judged"
        elif decision is Decision.ROLLBACK:
            assert self.rollout.status is RolloutStatus.ROLLED_BACK
        elif decision is Decision.PROMOTE and self.now >= before.step_ends_at:
            assert self.rollout.share > before.share
        else:
            assert (self.rollout.status, self.rollout.share) == (before.status, before.share)

    def take(self, changed: Transition) -> None:
        assert changed.rollout.sequence - self.rollout.sequence == (changed.rollout is not self.rollout)
        assert changed.event is None or changed.event.sequence == changed.rollout.sequence
        self.rollout = changed.rollout
        if changed.routes:
            self.route = routed(self.rollout, self.route)

    @invariant()
    def the_route_is_that_of_the_state(self) -> None:
        rollout, route = self.rollout, self.route
        status = rollout.status
        assert sum(route.versions.values()) == WHOLE
        assert route.versions.get("2", 0) == rollout.share
        assert route == routed(rollout, route), "every change of the share was a change of the route"
        assert (rollout.share == 0) is (status in {RolloutStatus.ROLLED_BACK, RolloutStatus.ABORTED})
        assert (rollout.share == WHOLE) is (status is RolloutStatus.PROMOTED)
        assert (rollout.ended_at is None) is rollout.is_open is (status in OPEN)
        assert route.default == route.labels[STABLE] == ("2" if status is RolloutStatus.PROMOTED else "1")
        assert (CANARY in route.labels) is route.rescue is rollout.is_open
        assert (route.salt, route.labels["mine"]) == ("grain", "1")


test_every_state_is_reached_from_every_other_and_the_route_follows = Rollouts.TestCase


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("status", list(RolloutStatus))
def test_a_verb_leads_where_it_should_or_is_refused_with_what_to_do(status: RolloutStatus, verb: Verb) -> None:
    rollout = in_state(status)
    assert rollout.status is status
    if (leads := LEADS.get((status, verb))) is not None:
        assert after(rollout, verb).status is leads
        return
    with pytest.raises(Conflict) as refused:
        transition(rollout, verb, ANNA, NOW)
    told = refused.value.message
    assert told.startswith(f"rollout_1 cannot {verb}: it is {status.replace('_', ' ')}; ")
    assert refused.value.param == "status"


@pytest.mark.parametrize("verb", sorted(JUDGES))
@pytest.mark.parametrize("status", sorted(set(RolloutStatus) - {RolloutStatus.RUNNING}))
def test_the_judge_says_nothing_to_what_does_not_run(status: RolloutStatus, verb: Verb) -> None:
    rollout = in_state(status)
    assert transition(rollout, verb, judged(Decision.ROLLBACK), NOW) == Transition(rollout)


def test_a_good_version_goes_through_all_steps_and_the_last_is_the_promotion() -> None:
    rollout, now, weights = started(), NOW, []
    while rollout.is_open:
        weights.append(rollout.share)
        now += timedelta(seconds=STEP_S)
        found = judged(Decision.PROMOTE)
        assert found.verdict is not None
        rollout = transition(rollout, verb_of(rollout, found.verdict, now), found, now).rollout
    assert weights == [100, 500, 2500]
    assert (rollout.status, rollout.share) == (RolloutStatus.PROMOTED, WHOLE)


def test_steps_that_end_below_100_are_promoted_after_the_last() -> None:
    plan = msgspec.structs.replace(PLAN, steps=(10.0,))
    rollout = start(plan, "rollout_1", "1", ANNA, NOW).rollout
    assert after(rollout, Verb.PROMOTE_STEP).status is RolloutStatus.PROMOTED


def test_a_step_has_its_time_however_good_it_looks() -> None:
    rollout, promote = started(), Verdict(Decision.PROMOTE, "failed")
    assert verb_of(rollout, promote, NOW + timedelta(seconds=STEP_S - 1)) is Verb.HOLD
    assert verb_of(rollout, promote, NOW + timedelta(seconds=STEP_S)) is Verb.PROMOTE_STEP


def test_a_retry_begins_at_the_first_step_with_nothing_counted() -> None:
    later = NOW + timedelta(seconds=500)
    rollout = after(started(), Verb.PROMOTE_STEP, Verb.ROLLBACK)
    again = transition(rollout, Verb.RETRY, ANNA, later).rollout
    assert (again.step, again.attempt, again.verdict) == (0, 2, None)
    assert (again.step_began_at, again.counted_until) == (later, later)
    assert again.ended_at is None


def test_the_time_of_a_pause_is_not_that_of_a_step() -> None:
    later = NOW + timedelta(seconds=500)
    rollout = transition(in_state(RolloutStatus.PAUSED), Verb.RESUME, ANNA, later).rollout
    assert (rollout.step_began_at, rollout.counted_until) == (later, later)


def test_holding_on_is_told_where_its_reason_is_another() -> None:
    rollout, events = started(), []
    for reason in ("no_traffic", "no_traffic", "too_few", "too_few", "no_traffic"):
        changed = transition(rollout, Verb.HOLD, judged(Decision.HOLD, reason, counted_until=NOW), NOW)
        events.append(changed.event is not None)
        assert not changed.routes
        rollout = changed.rollout
    assert events == [True, False, True, False, True]
    assert rollout.sequence == 6


def test_an_event_says_who_did_what_and_what_came_of_it() -> None:
    event = transition(started(), Verb.ABORT, Inputs("anna", "too slow for me"), NOW).event
    assert event is not None
    assert (event.verb, event.by, event.note) == (Verb.ABORT, "anna", "too slow for me")
    assert (event.status, event.weight, event.sequence) == (RolloutStatus.ABORTED, 0.0, 2)


def test_the_stable_version_is_the_one_that_has_the_traffic() -> None:
    assert stable_of(ROUTE, "2") == "1"
    assert stable_of(msgspec.structs.replace(ROUTE, versions={"1": 9000, "2": 1000}), "2") == "1"
    with pytest.raises(Conflict, match="version 1 has all the traffic"):
        stable_of(ROUTE, "1")
    with pytest.raises(Conflict, match="versions 1 and 3 share the traffic of digits: give one of them all"):
        stable_of(msgspec.structs.replace(ROUTE, versions={"1": 9000, "3": 1000}), "2")
