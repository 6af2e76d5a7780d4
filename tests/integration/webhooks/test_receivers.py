"""What we send, as we send it, to the receivers of docs/webhooks.md, and held against the libraries of others."""

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from runtime.clock import now_utc
from schemas.job_documents import JobLinks
from schemas.signing import ID_HEADER, SIGNATURE_HEADER, ResultLinks, new_secret, signed_headers
from schemas.webhook_events import EventBodies
from schemas.webhooks import Delivery, DeliveryState, EventType, Limits, PayloadKind, Revision, new_delivery_id
from stores.webhooks import Verdict
from tests.acceptance.client import NO_AUTHORITIES
from tests.integration.webhooks.receivers import (
    COMMANDS,
    Receiver,
    running,
    texts,
)
from tests.programs import javascript, node_command
from tests.waiting import eventually
from workers.notifier.sending.http_sender import HttpSender
from workers.notifier.sending.protocols import Reply

SECRET, OTHER = new_secret(), new_secret()
# Go compiles its whole library where nothing was compiled before.
pytestmark = pytest.mark.timeout(300)

LIMITS = Limits(timeout_s=30)
# What is no ASCII, and what JSON writers write in different ways.
METADATA = {"name": "Ærøskøbing \u2028 \U0001f600 </script>", "share": 0.1}


class Event(NamedTuple):
    job: str
    headers: dict[str, str]
    body: bytes


def event(*secrets: str, age_s: float = 0) -> Event:
    """As a notifier makes it: of a job that ended, signed by the secrets."""
    now = now_utc() - timedelta(seconds=age_s)
    delivery = Delivery(
        id=new_delivery_id(now),
        tenant="default",
        target="we_1",
        event_type=EventType.JOB_SUCCEEDED,
        subject=f"job_{new_delivery_id(now)[4:]}",
        revision=Revision.ENDED,
        created_at=now,
        state=DeliveryState.PENDING,
        due_at=now,
        facts={"status": "succeeded", "metadata": METADATA},
    )
    url = "http://localhost:8080"
    bodies = EventBodies(JobLinks(url), ResultLinks([bytes(32)], url), timedelta(days=7))
    body = bodies.body(delivery, PayloadKind.FULL, None)
    return Event(delivery.subject, signed_headers(delivery.id, now, body, secrets), body)


@pytest.fixture(scope="module", params=COMMANDS)
def receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with running(request.param, tmp_path_factory.mktemp(request.param), SECRET) as receiver:
        yield receiver


async def sent(receiver: Receiver, event: Event) -> Reply:
    async with HttpSender(now_utc, allow_private=True, tls=NO_AUTHORITIES) as sender:
        return await sender.send(receiver.url, event.headers, event.body, LIMITS)


def test_there_is_one_in_each_language_and_it_is_short() -> None:
    lines = {name: [line for line in text.splitlines() if line.strip()] for name, text in texts().items()}
    assert {name: len(each) <= 32 for name, each in lines.items()} == {
        "receiver.py": True,
        "receiver.mjs": True,
        "main.go": True,
    }


async def test_a_receiver_takes_what_we_send_and_tells_the_job(receiver: Receiver) -> None:
    given = event(SECRET)
    assert (await sent(receiver, given)).verdict is Verdict.DELIVERED
    await eventually(lambda: f"job.succeeded {given.job}" in receiver.lines())


@pytest.mark.parametrize("secrets", [(OTHER, SECRET), (SECRET, OTHER)], ids=["as the old one", "as the new one"])
async def test_a_receiver_that_knows_one_of_two_secrets_misses_nothing(
    receiver: Receiver, secrets: tuple[str, str]
) -> None:
    assert (await sent(receiver, event(*secrets))).verdict is Verdict.DELIVERED


def changed(given: Event, **changes: str | None) -> Event:
    headers = {name: value for name, value in {**given.headers, **changes}.items() if value is not None}
    return given._replace(headers=headers)


FORGED: dict[str, Callable[[], Event]] = {
    "other secret": lambda: event(OTHER),
    "late": lambda: event(SECRET, age_s=3600),
    "other body": lambda: event(SECRET)._replace(body=event(SECRET).body),
    "other id": lambda: changed(event(SECRET), **{ID_HEADER: "msg_1"}),
    "unsigned": lambda: changed(event(SECRET), **{SIGNATURE_HEADER: None}),
    "no version": lambda: changed(event(SECRET), **{SIGNATURE_HEADER: "v1"}),
    "no base64": lambda: changed(event(SECRET), **{SIGNATURE_HEADER: "v1,*"}),
    "no text": lambda: event(SECRET)._replace(body=b"\xff"),
}


@pytest.mark.parametrize("forged", FORGED)
async def test_a_receiver_refuses_what_we_did_not_sign(receiver: Receiver, forged: str) -> None:
    given = FORGED[forged]()
    reply = await sent(receiver, given)
    assert (reply.verdict, reply.status) == (Verdict.FAILED, 401)
    assert given.job not in receiver.log.read_text()


def test_what_we_sign_is_verified_by_the_libraries_of_npm_also_during_a_rotation(tmp_path: Path) -> None:
    command = node_command(tmp_path, "verify.mjs", javascript("verify.mjs"))
    cases = {
        "one secret": (SECRET, event(SECRET)),
        "the old one of two": (SECRET, event(OTHER, SECRET)),
        "the new one of two": (SECRET, event(SECRET, OTHER)),
        "another secret": (OTHER, event(SECRET)),
        "another body": (SECRET, event(SECRET)._replace(body=b"{}")),
        "late": (SECRET, event(SECRET, age_s=3600)),
    }
    lines = [
        json.dumps({"secret": secret, "headers": given.headers, "body": given.body.decode()})
        for secret, given in cases.values()
    ]
    ran = subprocess.run(command, cwd=tmp_path, input="\n".join(lines), capture_output=True, text=True, check=True)
    both = dict(zip(cases, ran.stdout.splitlines(), strict=True))
    good = ("one secret", "the old one of two", "the new one of two")
    assert both == {name: "true true" if name in good else "false false" for name in cases}
