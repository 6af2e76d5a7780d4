"""`penstock webhooks` on a whole stack: what it makes, sees, sends again and hears."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner
from standardwebhooks import Webhook

from penstock.cli import main
from penstock.stack import Stack
from schemas.signing import new_secret
from tests.acceptance.receiving import receiving
from tests.acceptance.test_webhooks import notifier_of, submit
from tests.waiting import eventually, soon

Json = dict[str, Any]
Asked = Callable[..., Awaitable[Json]]


def asking(stack: Stack) -> Asked:
    """A command of `webhooks`, by its words; what it answers."""

    def ask(*words: str) -> Json:
        arguments = ["webhooks", *words, "--gateway", stack.gateway_url, "--json"]
        ran = CliRunner().invoke(main, arguments)
        assert ran.exit_code == 0, ran.output
        document: Json = json.loads(ran.stdout)
        return document

    return lambda *words: asyncio.to_thread(ask, *words)  # a command has an event loop of its own


async def test_an_endpoint_is_made_tested_disabled_and_gets_what_it_has_missed(
    http: httpx.AsyncClient, stack: Stack
) -> None:
    await notifier_of(stack)
    asked = asking(stack)
    async with receiving() as receiver:
        made = await asked("create", f"{receiver.url}/all", "--event", "job.succeeded")
        try:
            assert (await asked("test", made["id"]))["status_code"] == 200
            await asked("disable", made["id"], "--reason", "a try")
            job = await submit(http)
            await eventually(lambda: holds_one(asked, made["id"]), 30, "an event is held")
            held = await asked("endpoints", made["id"])
            assert (held["status"], held["status_reason"]) == ("disabled", "a try")
            assert (await asked("enable", made["id"]))["replayed"] == 1
            await eventually(lambda: job in [event.subject for event in receiver.events], 30, "it came")
        finally:
            await asked("delete", made["id"], "--yes")
        for event in receiver.events:
            Webhook(made["signing_secret"]).verify(event.body, dict(event.headers))


async def holds_one(asked: Asked, endpoint_id: str) -> bool:
    return bool((await asked("endpoints", endpoint_id))["held"] == 1)


@asynccontextmanager
async def listening(stack: Stack, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Somebody who listens until Ctrl-C."""
    arguments = ["-m", "penstock", "webhooks", "listen", "--gateway", stack.gateway_url, "--json", *options]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=pipe, stderr=pipe)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_what_is_heard_is_forwarded_and_comes_again_by_a_replay(
    http: httpx.AsyncClient, stack: Stack, tmp_path: Path
) -> None:
    asked, secret, file = asking(stack), new_secret(), tmp_path / "secret"
    file.write_text(secret)
    signing = ("--secret-file", str(file))
    async with receiving() as receiver, listening(stack, "--forward-to", receiver.url, *signing) as process:
        assert process.stdout
        assert process.stderr
        told = (await soon(process.stderr.readline())).decode().split()
        assert told[:2] == ["listening", "as"]
        endpoint_id = told[2].rstrip(",")
        job = await submit(http)
        heard = await line_about(process.stdout, job)
        assert heard["forwarded"]["status"] == 200
        assert heard["event"]["data"]["status"] == "succeeded"
        event_id = heard["headers"]["webhook-id"]
        await eventually(lambda: is_delivered(asked, event_id), 30, "it is acknowledged")
        await asked("replay", event_id)
        again = await line_about(process.stdout, job)
        assert again["headers"]["webhook-id"] == event_id
        process.send_signal(signal.SIGINT)
        assert (await soon(process.wait()), await process.stderr.read()) == (130, b"")
    forwarded = [event for event in receiver.events if event.subject == job]
    assert len(forwarded) == 2
    for event in forwarded:
        Webhook(secret).verify(event.body, dict(event.headers))
    assert (await http.get(f"/v1/webhook_endpoints/{endpoint_id}")).status_code == 404


async def line_about(stream: asyncio.StreamReader, job: str) -> Json:
    """Of the jobs of other tests there may be others."""
    while True:
        line: Json = json.loads(await soon(stream.readline()))
        if line["event"]["data"]["id"] == job:
            return line


async def is_delivered(asked: Asked, event_id: str) -> bool:
    return bool((await asked("deliveries", event_id))["state"] == "delivered")
