"""Webhooks of a whole stack, whose notifier dies."""

import asyncpg
import httpx
from standardwebhooks import Webhook

from penstock.part import Part
from penstock.stack import Stack
from tests.acceptance import digits, jobs
from tests.acceptance.receiving import receiving
from tests.waiting import eventually

INPUT = digits.request(digits.images(1))
JOBS = 12


async def submit(http: httpx.AsyncClient, **fields: object) -> str:
    answer = await http.post("/v1/jobs", json={"model": "digits", "version": "1", "input": INPUT, **fields})
    return str(jobs.accepted(answer)["id"])


async def notifier_of(stack: Stack) -> Part:
    """It starts a little after all others."""
    await eventually(lambda: "notifier" in stack.roles and stack.role("notifier").running, 60, "the notifier runs")
    return stack.role("notifier")


async def leases_run_out(stack: Stack) -> None:
    """As if the minute had passed after which what a dead notifier had is claimed again."""
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        await connection.execute(
            "update webhook_deliveries set leased_until = now(), due_at = now() where leased_until > now()"
        )
        await connection.execute("update webhook_targets set next_due_at = now()")
    finally:
        await connection.close()


async def test_each_event_arrives_though_the_notifier_is_killed_under_it_and_keeps_its_id(
    http: httpx.AsyncClient, stack: Stack
) -> None:
    notifier = await notifier_of(stack)
    secret = (await http.get("/v1/webhooks/default/secret")).json()["key"]
    async with receiving() as receiver:
        receiver.speaking.clear()
        sent = [await submit(http, webhook=f"{receiver.url}/own") for _ in range(JOBS)]
        await eventually(lambda: receiver.events, what="an attempt that has no answer")
        notifier.kill()
        receiver.speaking.set()
        await eventually(lambda: notifier.running, 60, "the notifier runs again")
        await leases_run_out(stack)
        unanswered = receiver.events[0]
        await eventually(
            lambda: [event.id for event in receiver.events].count(unanswered.id) > 1,
            60,
            "what the killed one sent comes again",
        )
        await eventually(lambda: {event.subject for event in receiver.events} == set(sent), 60, "each event came")
        assert {len(ids) for ids in receiver.ids.values()} == {1}, "each event has one id"
    for event in receiver.events:
        verified = Webhook(secret).verify(event.body, dict(event.headers))
        assert verified["type"] == "job.succeeded"
        assert (verified["data"]["status"], verified["data"]["revision"]) == ("succeeded", 3)
        assert verified["data"]["result"]["outputs"]
