"""The circuit of a target, by what its attempts say."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.webhooks import Circuit, EventType, Health
from stores.webhook_health import GONE, change_facts, judged
from stores.webhooks import Claim, Verdict
from tests.webhooks import NOW, asked_for, claimed, delivery, endpoint, outcome

AT = endpoint()
VERDICTS = st.sampled_from(list(Verdict))


class Judge:
    """The health of one target, outcome by outcome."""

    def __init__(self, health: Health | None = None, claim: Claim | None = None) -> None:
        self.health = health or Health(since=NOW)
        self.claim = claim or claimed(at=AT)
        self.now = NOW

    def says(self, verdict: Verdict, after_s: float = 1, *, probe: bool = False, **fields: Any) -> EventType | None:
        self.now += timedelta(seconds=after_s)
        claim = replace(self.claim, probe=probe)
        self.health, told = judged(self.health, outcome(claim, verdict, self.now, **fields), self.now)
        return told


def degraded() -> Judge:
    judge = Judge()
    for _ in range(6):
        judge.says(Verdict.FAILED, 0)
    assert judge.health.circuit is Circuit.DEGRADED
    return judge


def test_four_failures_in_a_row_are_told_and_six_open_the_circuit() -> None:
    judge = Judge()
    told = [judge.says(Verdict.FAILED) for _ in range(6)]
    assert told == [None, None, None, EventType.ENDPOINT_FAILING, None, EventType.ENDPOINT_DEGRADED]
    assert judge.health == Health(
        circuit=Circuit.DEGRADED,
        since=judge.now,
        failures=6,
        failing_since=NOW + timedelta(seconds=1),
        probe_at=judge.now + timedelta(seconds=30),
        reason="it answered 500",
        changes=2,
    )


def test_a_success_in_between_begins_the_count_anew() -> None:
    judge = Judge()
    for _ in range(4):
        told = [judge.says(Verdict.FAILED) for _ in range(3)] + [judge.says(Verdict.DELIVERED)]
        assert told == [None] * 4
    assert (judge.health.circuit, judge.health.failures, judge.health.succeeded_at) == (Circuit.ACTIVE, 0, judge.now)


def test_an_address_that_nothing_is_sent_to_counts_as_a_failure() -> None:
    judge = Judge()
    assert [judge.says(Verdict.REFUSED, error="10.0.0.1 is private") for _ in range(6)][5] is not None
    assert (judge.health.circuit, judge.health.reason) == (Circuit.DEGRADED, "10.0.0.1 is private")


def test_probes_are_further_and_further_apart_up_to_ten_minutes() -> None:
    judge = degraded()
    waits = []
    for _ in range(7):
        assert judge.health.probe_at is not None
        waits.append((judge.health.probe_at - judge.now).total_seconds())
        assert judge.says(Verdict.FAILED, waits[-1], probe=True) is None
    assert waits == [30, 60, 120, 240, 480, 600, 600]


def test_what_was_on_its_way_when_the_circuit_opened_does_not_put_the_probe_off() -> None:
    judge = degraded()
    probe_at = judge.health.probe_at
    assert judge.says(Verdict.FAILED, 10) is None
    assert (judge.health.probe_at, judge.health.failures) == (probe_at, 7)


@pytest.mark.parametrize("probe", [True, False])
def test_one_success_closes_the_circuit(probe: bool) -> None:
    judge = degraded()
    assert judge.says(Verdict.DELIVERED, 30, probe=probe) is EventType.ENDPOINT_RECOVERED
    assert judge.health == Health(since=judge.now, succeeded_at=judge.now, changes=3)


def test_who_was_told_of_failures_is_told_that_they_are_over() -> None:
    judge = Judge()
    for _ in range(4):
        judge.says(Verdict.FAILED)
    assert judge.says(Verdict.DELIVERED) is EventType.ENDPOINT_RECOVERED
    assert judge.says(Verdict.DELIVERED) is None


def test_a_probe_waits_for_as_long_as_the_answer_asks_but_no_longer_than_a_day() -> None:
    judge = degraded()
    judge.says(Verdict.FAILED, probe=True, retry_after_s=3600)
    assert judge.health.probe_at == judge.now + timedelta(hours=1)
    judge.says(Verdict.FAILED, probe=True, retry_after_s=10**9)
    assert judge.health.probe_at == judge.now + timedelta(days=1)
    judge.says(Verdict.FAILED, probe=True, retry_after_s=1)
    assert judge.health.probe_at == judge.now + timedelta(seconds=240)


def test_an_endpoint_is_disabled_after_five_days_without_success() -> None:
    judge = degraded()
    day_s = 24 * 3600
    assert judge.says(Verdict.FAILED, 5 * day_s - 1, probe=True) is None
    assert judge.says(Verdict.FAILED, 1, probe=True) is EventType.ENDPOINT_DISABLED
    assert (judge.health.circuit, judge.health.probe_at) == (Circuit.DISABLED, None)
    assert judge.health.reason == "no success for 5 days; it answered 500"


def test_two_failures_far_apart_disable_nothing() -> None:
    judge = Judge()
    judge.says(Verdict.FAILED)
    judge.says(Verdict.FAILED, 10 * 24 * 3600)
    assert judge.health.circuit is Circuit.ACTIVE


def test_an_origin_is_probed_for_as_long_as_something_waits_since_nobody_could_enable_it() -> None:
    judge = Judge(claim=claimed(delivery("origin_1", url="https://example.com/1")))
    for _ in range(20):
        judge.says(Verdict.FAILED, 24 * 3600, probe=judge.health.circuit is Circuit.DEGRADED)
    assert judge.health.circuit is Circuit.DEGRADED


def test_410_disables_an_endpoint_at_once() -> None:
    judge = Judge()
    assert judge.says(Verdict.GONE) is EventType.ENDPOINT_DISABLED
    assert (judge.health.circuit, judge.health.reason) == (Circuit.DISABLED, GONE)
    assert judge.says(Verdict.GONE) is None


def test_410_of_one_url_says_nothing_of_its_origin() -> None:
    judge = Judge(claim=claimed(delivery("origin_1", url="https://example.com/1")))
    before = judge.health
    assert judge.says(Verdict.GONE) is None
    assert judge.health == before


@pytest.mark.parametrize("verdict", list(Verdict))
def test_what_is_disabled_is_enabled_by_nobody_but_its_owner(verdict: Verdict) -> None:
    judge = Judge(Health(circuit=Circuit.DISABLED, since=NOW, reason="by hand"))
    assert judge.says(verdict) is None
    assert (judge.health.circuit, judge.health.reason, judge.health.since) == (Circuit.DISABLED, "by hand", NOW)
    assert (judge.health.succeeded_at is not None) is (verdict is Verdict.DELIVERED)


def test_what_is_not_the_endpoints_fault_does_not_count() -> None:
    judge = Judge()
    before = judge.health
    for _ in range(20):
        assert judge.says(Verdict.OURS) is None
    assert judge.health == before


def test_a_probe_that_we_could_not_send_is_sent_again_soon() -> None:
    judge = degraded()
    before = judge.health
    judge.says(Verdict.OURS, 30, probe=True)
    assert judge.health == replace(before, probe_at=judge.now + timedelta(seconds=5))


def test_a_test_that_fails_is_no_failure_and_one_that_succeeds_is_a_success() -> None:
    judge = degraded()
    judge.claim = claimed(asked_for(), at=AT)
    before = judge.health
    assert judge.says(Verdict.FAILED) is None
    assert judge.health == before
    assert judge.says(Verdict.DELIVERED) is EventType.ENDPOINT_RECOVERED


def test_an_event_of_a_change_says_what_is_wrong_where() -> None:
    judge = degraded()
    facts = change_facts(outcome(judge.claim, Verdict.FAILED), judge.health)
    assert facts == {
        "name": AT.name,
        "url": AT.url,
        "status": "degraded",
        "reason": "it answered 500",
        "failures": 6,
        "failing_since": NOW.isoformat(),
    }


@given(st.lists(st.tuples(VERDICTS, st.floats(0, 48 * 3600), st.booleans()), max_size=60))
def test_the_circuit_is_what_the_last_failures_in_a_row_say(steps: list[tuple[Verdict, float, bool]]) -> None:
    judge = Judge()
    changes = 0
    for verdict, after_s, probe in steps:
        before = judge.health
        told = judge.says(verdict, after_s, probe=probe and before.circuit is Circuit.DEGRADED)
        changes += told is not None
        health = judge.health
        assert health.changes == changes
        assert (health.circuit is not before.circuit) <= (told is not None)
        if health.circuit is Circuit.ACTIVE:
            assert health.failures < 6
            assert health.probe_at is None
        if health.circuit is Circuit.DEGRADED:
            assert health.failures >= 6
            assert health.probe_at is not None
            assert 30 <= health.probe_after_s <= 600
        assert (health.failures > 0) == (health.failing_since is not None)
        assert _is_past(health.failing_since, judge.now)


def _is_past(moment: datetime | None, now: datetime) -> bool:
    return moment is None or moment <= now
