"""What a notifier does on the side."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from structlog.testing import capture_logs

from schemas.webhooks import Circuit
from stores.memory_webhook_state import WebhookState
from stores.memory_webhooks import MemoryEndpoints
from stores.sealing import KeyRing
from stores.webhooks import Waiting
from tests.unit.notifier.claims import NOW
from tests.unit.notifier.queues import ScriptedQueue
from tests.waiting import LoopClock, eventually
from tests.webhooks import endpoint
from workers.notifier import metrics
from workers.notifier.chores import (
    COMPARE_EVERY_S,
    COUNT_EVERY_S,
    PURGE_EVERY_S,
    PURGED_AT_ONCE,
    RESEAL_EVERY_S,
    KeyWatch,
    count,
    purge,
    reseal,
)


@asynccontextmanager
async def running(chore: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(chore)
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_targets_are_counted_by_circuit_and_one_that_is_no_more_counts_as_none() -> None:
    store = ScriptedQueue()
    store.circuits = {"active": 5, "degraded": 2}
    degraded = metrics.TARGETS.labels(Circuit.DEGRADED)
    async with running(count(store, lambda: NOW)):
        await eventually(lambda: degraded._value.get() == 2)
        clock = LoopClock()
        store.down = True
        clock.pass_s(COUNT_EVERY_S + 1)
        await eventually(lambda: store.looked == 2)
        store.down, store.circuits = False, {"active": 7}
        clock.pass_s(COUNT_EVERY_S + 1)
        await eventually(lambda: degraded._value.get() == 0)
    assert metrics.TARGETS.labels(Circuit.ACTIVE)._value.get() == 7


async def test_what_waits_is_told_by_circuit_with_the_age_of_the_oldest() -> None:
    store = ScriptedQueue()
    store.waits = {"active": Waiting(3, NOW - timedelta(seconds=2)), "degraded": Waiting(70, NOW - timedelta(hours=1))}
    number, age = metrics.WAITING.labels(Circuit.DEGRADED), metrics.OLDEST_WAITING.labels(Circuit.DEGRADED)
    async with running(count(store, lambda: NOW)):
        await eventually(lambda: number._value.get() == 70)
        assert age._value.get() == 3600
        assert metrics.OLDEST_WAITING.labels(Circuit.ACTIVE)._value.get() == 2
        store.waits = {"active": Waiting(1, NOW + timedelta(seconds=1))}
        LoopClock().pass_s(COUNT_EVERY_S + 1)
        await eventually(lambda: number._value.get() == 0)
        assert age._value.get() == 0
    assert metrics.WAITING.labels(Circuit.ACTIVE)._value.get() == 1
    assert metrics.OLDEST_WAITING.labels(Circuit.ACTIVE)._value.get() == 0, "another clock is ahead of ours"


async def test_keys_that_are_in_use_and_were_not_given_are_told_by_name_until_they_are_not() -> None:
    store = ScriptedQueue()
    store.keys = {"k3": 1, "k1": 7, "k0": 2}
    watch = KeyWatch(["k1"])
    with capture_logs() as logs:
        async with running(watch.watch(store)):
            await eventually(lambda: watch.trouble)
            assert (watch.trouble or "").endswith("PENSTOCK_WEBHOOK_KEYS: k0, k3")
            assert metrics.MISSING_KEYS._value.get() == 2
            clock = LoopClock()
            store.down = True
            clock.pass_s(COMPARE_EVERY_S + 1)
            await eventually(lambda: store.looked == 2)
            assert watch.trouble is not None
            store.down, store.keys = False, {"k1": 7}
            clock.pass_s(COMPARE_EVERY_S + 1)
            await eventually(lambda: watch.trouble is None)
    assert len([line for line in logs if line["log_level"] == "error"]) == 1


async def test_secrets_that_an_older_key_has_sealed_are_sealed_anew() -> None:
    key, state = bytes(32), WebhookState()
    old, ring = KeyRing({"old": key}), KeyRing({"new": bytes(range(32)), "old": key})
    store = MemoryEndpoints(state)
    state.down = True
    with capture_logs() as logs:
        async with running(reseal(store, ring, lambda: NOW)):
            await eventually(lambda: logs)
            clock = LoopClock()
            state.down = False
            await store.add(endpoint("we_a", secrets=(old.seal("a", "default", "we_a"),)))
            clock.pass_s(RESEAL_EVERY_S + 1)
            await eventually(lambda: [sealed.key for sealed in state.endpoints["we_a"].secrets] == ["new"])


async def test_a_purge_goes_on_while_there_is_more_and_comes_again_after_a_failure() -> None:
    store = ScriptedQueue()
    store.rows = [PURGED_AT_ONCE, PURGED_AT_ONCE, 3]
    before = metrics.PURGED._value.get()
    async with running(purge(store, lambda: NOW)):
        await eventually(lambda: metrics.PURGED._value.get() == before + 2 * PURGED_AT_ONCE + 3)
        assert store.looked == 3
        clock = LoopClock()
        store.down = True
        clock.pass_s(PURGE_EVERY_S + 1)
        await eventually(lambda: store.looked == 4)
        store.down, store.rows = False, [1]
        clock.pass_s(PURGE_EVERY_S + 1)
        await eventually(lambda: not store.rows)
