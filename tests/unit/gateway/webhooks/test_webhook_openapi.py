"""What is answered about webhooks fits what the OpenAPI document says of it, and so does what is asked."""

from typing import Any

import httpx
import pytest

from tests.unit.gateway.house import House
from tests.unit.gateway.test_openapi import fits
from tests.unit.gateway.webhooks.notifying import notify
from tests.unit.gateway.webhooks.test_webhook_endpoints_http import URL, WANTED, created, ended
from tests.unit.gateway.webhooks.test_webhook_pulls_http import claimed, pulled, told


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    whole: dict[str, Any] = (await client.get("/openapi.json")).json()
    return whole


async def test_endpoints_fit_their_schemas(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    fits(document, "WebhookEndpointRequest", WANTED | {"limits": {"max_per_second": None, "timeout_s": 3}})
    endpoint = await created(client)
    url = f"{URL}/{endpoint['id']}"
    fits(document, "WebhookEndpoint", endpoint)
    fits(document, "WebhookEndpoint", (await client.get(url)).json())
    fits(document, "WebhookEndpointList", (await client.get(URL)).json())
    fits(document, "WebhookEndpointChange", {"name": "other"})
    fits(document, "WebhookRotationRequest", {"grace_s": 60})
    fits(document, "WebhookEndpoint", (await client.post(f"{url}/rotate_secret", json={"grace_s": 60})).json())
    fits(document, "WebhookDisablingRequest", {"reason": "over"})
    fits(document, "WebhookEndpoint", (await client.post(f"{url}/disable", json={"reason": "over"})).json())
    fits(document, "WebhookEnablingRequest", {"replay": "since", "since": "2026-01-31T12:00:00Z"})
    fits(document, "WebhookEndpoint", (await client.post(f"{url}/enable")).json())
    fits(document, "WebhookEventTypeList", (await client.get("/v1/webhook_event_types")).json())
    fits(document, "DeletedWebhookEndpoint", (await client.delete(url)).json())


async def test_deliveries_fit_their_schemas(house: House, client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    await created(client)
    await ended(house, client)
    await notify(house)
    listed = (await client.get("/v1/webhook_deliveries")).json()
    fits(document, "WebhookDeliveryList", listed)
    (delivery,) = listed["data"]
    fits(document, "WebhookDelivery", (await client.get(f"/v1/webhook_deliveries/{delivery['id']}")).json())
    wanted = {"filter": {"state": "delivered", "created_after": "2026-01-01T00:00:00Z"}, "dry_run": True}
    fits(document, "WebhookReplayRequest", wanted)
    url = "/v1/webhook_deliveries/replay"
    fits(document, "WebhookDeliveryCount", (await client.post(url, json=wanted)).json())
    fits(document, "WebhookReplay", (await client.post(url, json=wanted | {"dry_run": False})).json())


async def test_events_that_are_pulled_fit_their_schemas(
    house: House, client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    endpoint = await pulled(client)
    await ended(house, client)
    fits(document, "WebhookClaimRequest", {"limit": 10, "wait_s": 0, "lease_s": 60})
    events = await claimed(client, endpoint)
    fits(document, "WebhookEventList", {"object": "list", "data": events})
    fits(document, "WebhookAcknowledgeRequest", {"events": [{"id": "msg_1", "lease": "x"}]})
    fits(document, "WebhookRenewalRequest", {"events": [{"id": "msg_1", "lease": "x"}], "lease_s": 60})
    fits(document, "WebhookLeases", await told(client, endpoint, "ack", *events))
