"""A notifier at Postgres: new targets of one tenant, however many, keep out nobody else's first webhook."""

import asyncio
from datetime import timedelta

import pytest

from runtime.budget import MemoryBudget
from runtime.clock import now_utc
from stores.webhooks import Claim
from tests.integration.stores.webhook_load import postgres_webhooks
from tests.unit.notifier.claims import SECRETS, ScriptedSender
from tests.waiting import eventually, soon
from tests.webhooks import delivery
from workers.notifier.attempts import ATTEMPT_BYTES, Attempts
from workers.notifier.pipeline import Pipeline
from workers.notifier.recording import Recorder
from workers.notifier.requests import Request

MANY = 3000
FIRST = "https://first.example.com"


async def request(claim: Claim) -> Request:
    return Request(claim.delivery.url or "", b"{}", SECRETS)


@pytest.mark.parametrize("hang", [False, True], ids=["they answer", "they hang"])
async def test_a_tenant_s_first_webhook_is_sent_beside_thousands_of_new_origins_of_another(
    migrated_postgres_dsn: str, hang: bool
) -> None:
    sender, budget = ScriptedSender(), MemoryBudget(2000 * ATTEMPT_BYTES, shown=False)
    stop, released = asyncio.Event(), asyncio.Event()
    origins = [(f"origin_{number}", f"https://{number}.example.com") for number in range(MANY)]
    sender.hanging = {url: released for _, url in origins} if hang else {}
    async with postgres_webhooks(migrated_postgres_dsn) as webhooks, Recorder(webhooks.queue, now_utc) as recorder:
        due_at = now_utc() - timedelta(seconds=60)
        await webhooks.write([delivery(name, tenant="many", url=url, created_at=due_at) for name, url in origins])
        attempts = Attempts(request, sender, budget, now_utc)
        pipeline = Pipeline(webhooks.queue, attempts, recorder, budget, now_utc, concurrency=300)
        running = asyncio.create_task(pipeline.run(stop))
        await eventually(lambda: len(sender.sent) >= 100)
        await webhooks.write([delivery("origin_first", tenant="another", url=FIRST, created_at=now_utc())])
        pipeline.wake()
        await eventually(lambda: any(sent.url == FIRST for sent in sender.sent))
        assert len(sender.sent) < 600
        stop.set()
        released.set()
        await soon(running)
