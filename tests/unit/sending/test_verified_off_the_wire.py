"""What a receiver reads off the wire, checked by libraries that nobody here wrote, while a secret is rotated."""

import json
from datetime import UTC, datetime

import pytest
from openai import OpenAI
from replicate.webhook import Webhooks, WebhookSigningSecret
from standardwebhooks import Webhook

from schemas.signing import new_secret, signed_headers
from schemas.webhooks import Limits, PayloadKind
from tests.unit.schemas.test_webhook_events import BODIES, JOB, delivery
from tests.unit.sending.house import NOW, OK, FixedNames, answering, receiver
from tests.waiting import soon
from workers.notifier.sending.http_sender import HttpSender

OLD, NEW = new_secret(), new_secret()


@pytest.mark.parametrize("secret", [OLD, NEW], ids=["old", "new"])
@pytest.mark.parametrize("payload", PayloadKind)
async def test_an_event_is_accepted_by_all_libraries_with_either_secret(payload: PayloadKind, secret: str) -> None:
    body = BODIES.body(delivery(), payload, JOB)
    headers = signed_headers("msg_1", datetime.now(UTC), body, [NEW, OLD])
    async with (
        HttpSender(lambda: NOW, allow_private=True, resolver=FixedNames()) as sender,
        receiver(answering(OK)) as there,
    ):
        await soon(sender.send(there.url(), headers, body, Limits()))
        _, read, received = there.heard.requests[0]

    assert Webhook(secret).verify(received, read) == json.loads(body)
    event = OpenAI(api_key="none").webhooks.unwrap(received, read, secret=secret)
    assert (event.id, event.object, event.created_at) == ("msg_1", "event", 1767323046)
    Webhooks.validate(headers=read, body=received.decode(), secret=WebhookSigningSecret(key=secret), tolerance=300)
