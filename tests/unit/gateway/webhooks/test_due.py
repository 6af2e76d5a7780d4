"""Whoever waits for events is woken once something is due, by one look for all of them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from gateway.waiters import Waiters
from gateway.webhooks.due import DueLook
from schemas.errors import StoreUnavailable
from stores.memory import MemoryJobs
from stores.memory_signals import MemorySignals
from stores.memory_webhook_pulled import MemoryPulledEvents
from stores.memory_webhook_state import WebhookState
from stores.protocols import JobKey
from tests.waiting import eventually
from tests.webhooks import NOW

KEY = JobKey("default", "we_a")


class Away(MemoryPulledEvents):
    """Does not answer while `down`, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__(WebhookState())
        self.asked = 0
        self.down = True

    async def due(self, endpoint_ids: Sequence[str], now: datetime) -> Sequence[str]:
        self.asked += 1
        if self.down:
            raise StoreUnavailable("it is away")
        return []

    async def asked_again(self, times: int) -> None:
        wanted = self.asked + times
        await eventually(lambda: self.asked >= wanted)


async def test_that_the_store_is_away_is_logged_once_each_time() -> None:
    store = Away()
    look = DueLook(store, Waiters(MemoryJobs(), MemorySignals()), lambda: NOW, every_s=0.001)
    running = asyncio.create_task(look.run())
    with capture_logs() as logged, look.looking(KEY):
        await store.asked_again(5)
        assert [line["log_level"] for line in logged] == ["warning"]
        store.down = False
        await store.asked_again(2)
        store.down = True
        await store.asked_again(5)
        assert [line["log_level"] for line in logged] == ["warning"] * 2
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
