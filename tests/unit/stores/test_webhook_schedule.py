"""When a delivery is tried next, and when it is over."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.webhooks import SCHEDULE_S, DeliveryState, EventType
from stores.webhook_schedule import delay_s, tried
from stores.webhooks import Verdict
from tests.webhooks import NOW, asked_for, claimed, delivery, endpoint, outcome

AT = endpoint()
LATER = NOW + timedelta(minutes=1)
DAY_S = 86_400


def after(verdict: Verdict, chance: float = 0.5, **fields: Any) -> Any:
    """The delivery after one outcome; the fields are those of the claim and of the outcome."""
    of = fields.pop("of", delivery())
    retry_after_s = fields.pop("retry_after_s", None)
    claim = claimed(of, at=fields.pop("at", AT), **fields)
    return tried(outcome(claim, verdict, retry_after_s=retry_after_s), LATER, chance)


def test_the_schedule_is_the_one_that_clients_are_told() -> None:
    delays = [delay_s(attempts, None, 0.5) for attempts in range(1, 11)]
    assert delays == [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400, None]


@given(st.integers(1, 9), st.floats(0, 1), st.none() | st.floats(allow_nan=True))
def test_what_an_answer_asks_for_is_granted_from_the_own_delay_up_to_a_day(
    attempts: int, chance: float, retry_after_s: float | None
) -> None:
    own_s = SCHEDULE_S[attempts]
    waited_s = delay_s(attempts, retry_after_s, chance)
    assert waited_s is not None
    assert own_s * 0.9 - 1e-6 <= waited_s <= max(own_s * 1.1 + 1e-6, DAY_S)
    if retry_after_s is not None and own_s * 1.1 <= retry_after_s <= DAY_S:
        assert waited_s == retry_after_s


def test_a_success_ends_it() -> None:
    done = after(Verdict.DELIVERED)
    assert (done.state, done.ended_at, done.attempts, done.tried) == (DeliveryState.DELIVERED, LATER, 1, 1)
    assert (done.last_status, done.last_error) == (204, None)


def test_a_failure_is_tried_again_by_the_schedule() -> None:
    failed = after(Verdict.FAILED)
    assert (failed.state, failed.ended_at, failed.attempts, failed.tried) == (DeliveryState.PENDING, None, 1, 1)
    assert failed.due_at == LATER + timedelta(seconds=5)
    assert failed.last_status == 500


def test_after_the_last_of_its_schedule_it_has_failed() -> None:
    last = delivery(attempts=len(SCHEDULE_S) - 1, tried=12)
    over = after(Verdict.FAILED, of=last)
    assert (over.state, over.ended_at, over.attempts, over.tried) == (DeliveryState.FAILED, LATER, 10, 13)


def test_a_probe_does_not_use_up_the_schedule_and_leaves_a_delivery_in_its_place() -> None:
    held = delivery(attempts=5, tried=7, due_at=NOW + timedelta(hours=3))
    probed = after(Verdict.FAILED, of=held, probe=True)
    assert (probed.attempts, probed.tried, probed.due_at) == (5, 8, held.created_at)


def test_what_is_not_the_endpoints_fault_is_due_again_soon_and_counts_as_nothing() -> None:
    again = after(Verdict.OURS, of=delivery(attempts=9, tried=9))
    assert (again.state, again.attempts, again.tried) == (DeliveryState.PENDING, 9, 9)
    assert again.due_at == LATER + timedelta(seconds=5)
    assert again.last_error == "ours"


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("once", [asked_for(), delivery(event_type=EventType.JOB_RUNNING)], ids=["test", "running"])
def test_what_is_sent_once_ends_with_its_attempt(verdict: Verdict, once: Any) -> None:
    ended = after(verdict, of=once)
    assert ended.state is (DeliveryState.DELIVERED if verdict is Verdict.DELIVERED else DeliveryState.FAILED)
    assert ended.ended_at == LATER


def test_410_is_held_at_an_endpoint_and_ends_a_delivery_to_a_jobs_own_url() -> None:
    assert after(Verdict.GONE).state is DeliveryState.PENDING
    own = after(Verdict.GONE, of=delivery("origin_1", url="https://example.com/1"), at=None)
    assert own.state is DeliveryState.FAILED


@given(st.sampled_from(list(Verdict)), st.integers(0, 9), st.booleans(), st.floats(0, 1))
def test_a_delivery_keeps_what_it_is_about_whatever_becomes_of_it(
    verdict: Verdict, attempts: int, probe: bool, chance: float
) -> None:
    before = delivery(attempts=attempts, tried=attempts)
    now = after(verdict, chance, of=before, probe=probe)
    assert (now.state is DeliveryState.PENDING) == (now.ended_at is None)
    same = ("due_at", "attempts", "tried", "state", "ended_at", "last_status", "last_error")
    assert replace(now, **{name: getattr(before, name) for name in same}) == before
