"""One attempt: what it sends, and what becomes of whatever happens in it."""

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from runtime.budget import MemoryBudget
from schemas.errors import StoreUnavailable
from schemas.signing import check_signature
from stores.webhooks import Claim, Verdict
from tests.unit.notifier.claims import (
    DELIVERED,
    FAILED,
    NOW,
    SECRETS,
    ScriptedSender,
    Sent,
    a_claim,
    a_delivery,
    a_request,
    an_endpoint,
)
from tests.waiting import LoopClock, at_once, eventually
from workers.notifier.attempts import ATTEMPT_BYTES, MAKING_S, RECORDING_S, Attempts
from workers.notifier.requests import Request
from workers.notifier.sending.protocols import Reply

URL = an_endpoint().url or ""


@pytest.fixture
def sender() -> ScriptedSender:
    return ScriptedSender()


@pytest.fixture
def budget() -> MemoryBudget:
    return MemoryBudget(ATTEMPT_BYTES, shown=False)


@pytest.fixture
def attempts(sender: ScriptedSender, budget: MemoryBudget) -> Attempts:
    return Attempts(a_request, sender, budget, lambda: NOW)


async def test_what_is_sent_is_signed_for_this_moment_under_the_delivery_s_id(
    attempts: Attempts, sender: ScriptedSender
) -> None:
    await attempts.make(a_claim(a_delivery("msg_7")))
    (sent,) = sender.sent
    assert (sent.url, sent.body, sent.id) == (URL, b'{"id":"msg_7"}', "msg_7")
    check_signature(sent.headers, sent.body, SECRETS, NOW)


async def test_the_outcome_tells_what_the_reply_did_and_which_attempt_it_was(
    attempts: Attempts, sender: ScriptedSender
) -> None:
    sender.reply = lambda _: Reply(verdict=Verdict.FAILED, status=429, error="no", head="HTTP/1.1 429", retry_after_s=9)
    claim = a_claim(a_delivery(tried=4), probe=True)
    outcome = await attempts.make(claim)
    assert (outcome.claim, outcome.verdict, outcome.retry_after_s) == (claim, Verdict.FAILED, 9)
    attempt = outcome.attempt
    assert (attempt.delivery, attempt.number, attempt.at, attempt.probe) == ("msg_1", 5, NOW, True)
    assert (attempt.status, attempt.error, attempt.head) == (429, "no", "HTTP/1.1 429")


async def test_the_time_that_is_told_is_that_of_the_request_alone(sender: ScriptedSender) -> None:
    now_s = 0.0

    async def slowly(claim: Claim) -> Request:
        nonlocal now_s
        now_s += 3
        return await a_request(claim)

    def replied(_: Sent) -> Reply:
        nonlocal now_s
        now_s += 0.25
        return FAILED

    sender.reply = replied
    attempts = Attempts(slowly, sender, MemoryBudget(1, shown=False), lambda: NOW, lambda: now_s)
    assert (await attempts.make(a_claim())).attempt.latency_ms == 250


async def test_a_body_is_counted_as_held_while_it_is_sent(
    attempts: Attempts, sender: ScriptedSender, budget: MemoryBudget
) -> None:
    sender.hanging[URL] = asyncio.Event()
    task = asyncio.create_task(attempts.make(a_claim()))
    await eventually(lambda: budget.held_bytes == len(b'{"id":"msg_1"}'))
    sender.hanging[URL].set()
    await task
    assert budget.held_bytes == 0


async def test_an_error_of_ours_ends_one_attempt_counts_against_nobody_and_is_told_once_a_minute(
    sender: ScriptedSender, budget: MemoryBudget
) -> None:
    now_s = 0.0

    def broken(_: Sent) -> Reply:
        raise LookupError("of the inside")

    sender.reply = broken
    attempts = Attempts(a_request, sender, budget, lambda: NOW, lambda: now_s)
    with capture_logs() as logs:
        outcome = await attempts.make(a_claim())
        await attempts.make(a_claim())
        now_s = 61.0
        await attempts.make(a_claim())
    assert outcome.verdict is Verdict.OURS
    assert "inside" not in (outcome.attempt.error or "")
    assert len(logs) == 2
    assert budget.held_bytes == 0


async def test_what_cannot_be_made_now_is_ours_and_says_why(sender: ScriptedSender, budget: MemoryBudget) -> None:
    async def away(_: Claim) -> Request:
        raise StoreUnavailable("the database is not available")

    outcome = await Attempts(away, sender, budget, lambda: NOW).make(a_claim())
    assert (outcome.verdict, outcome.attempt.error) == (Verdict.OURS, "the database is not available")
    assert sender.sent == []


@pytest.mark.parametrize(
    ("lease_s", "longest_s"),
    [(60, MAKING_S + 15), (12, 12 - RECORDING_S), (1, 0)],
    ids=["long", "short", "over"],
)
async def test_no_attempt_lasts_longer_than_it_can_be_written_down_under_its_lease(
    attempts: Attempts, sender: ScriptedSender, lease_s: float, longest_s: float
) -> None:
    clock = LoopClock()
    sender.hanging[URL] = asyncio.Event()
    began_s = clock.now_s()
    outcome = await clock.in_time(attempts.make(a_claim(leased_until=NOW + timedelta(seconds=lease_s))))
    assert outcome.verdict is Verdict.OURS
    assert longest_s <= clock.now_s() - began_s < longest_s + 1


async def test_attempts_that_are_cut_short_count_against_nobody_and_so_do_those_that_come_later(
    attempts: Attempts, sender: ScriptedSender
) -> None:
    sender.hanging[URL] = asyncio.Event()
    running = asyncio.create_task(attempts.make(a_claim()))
    await eventually(lambda: sender.sent)
    attempts.cut_short()
    outcome = await at_once(running)
    assert outcome.verdict is Verdict.OURS
    assert "the notifier stops" in (outcome.attempt.error or "")
    assert (await attempts.make(a_claim())).verdict is Verdict.OURS


async def test_an_attempt_whose_time_is_over_and_that_is_still_ending_is_no_obstacle(
    sender: ScriptedSender, budget: MemoryBudget
) -> None:
    ending, ended = asyncio.Event(), asyncio.Event()

    async def slow_to_end(claim: Claim) -> Request:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await ended.wait()
        return await a_request(claim)

    attempts = Attempts(slow_to_end, sender, budget, lambda: NOW)
    running = asyncio.create_task(attempts.make(a_claim()))
    clock = LoopClock()
    await eventually(lambda: attempts._running)
    clock.pass_s(MAKING_S + 16)
    await eventually(ending.is_set)
    attempts.cut_short()
    ended.set()
    assert (await at_once(running)).verdict is Verdict.OURS


async def test_a_delivered_event_is_said_to_be(attempts: Attempts) -> None:
    outcome = await attempts.make(a_claim())
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.DELIVERED, DELIVERED.status)
