"""What signs jobs' own webhooks, over HTTP."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from replicate.client import Client
from replicate.webhook import InvalidSignatureError, Webhooks

from schemas.errors import StoreUnavailable
from schemas.signing import check_signature, secret_key, signed_headers
from tests.unit.gateway.house import INPUT, NOW, TENANT, House, opened, problem

URL = "/v1/webhooks/default/secret"


async def rotated(client: httpx.AsyncClient, **body: Any) -> str:
    answer = await client.post(f"{URL}/rotate", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["key"])


async def test_the_secret_is_made_once_and_comes_as_replicate_has_it(client: httpx.AsyncClient) -> None:
    answer = await client.get(URL)
    assert answer.status_code == 200
    assert set(answer.json()) == {"key"}
    assert len(secret_key(answer.json()["key"])) >= 24
    assert answer.headers["cache-control"] == "private, no-store"
    assert (await client.get(URL)).json() == answer.json()


async def test_replicates_client_reads_it_and_verifies_by_it(house: House) -> None:
    transport = httpx.ASGITransport(house.app)
    replicate = Client(api_token="x", base_url="https://inference.example.com", transport=transport)
    secret = await replicate.webhooks.default.async_secret()
    headers = signed_headers("msg_1", NOW, b"{}", await house.webhooks.default_secrets.signing(TENANT))
    Webhooks.validate(headers=headers, body="{}", secret=secret)
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(headers=headers, body="[]", secret=secret)


async def test_during_its_grace_the_secret_before_signs_as_well(house: House, client: httpx.AsyncClient) -> None:
    old = (await client.get(URL)).json()["key"]
    new = await rotated(client, grace_s=3600)
    assert (await client.get(URL)).json()["key"] == new != old

    headers = signed_headers("msg_1", NOW, b"{}", await house.webhooks.default_secrets.signing(TENANT))
    for secret in (old, new):
        check_signature(headers, b"{}", [secret], NOW)
    house.now += timedelta(hours=1)
    assert await house.webhooks.default_secrets.signing(TENANT) == [new]


async def test_without_a_grace_only_the_new_one_signs(house: House, client: httpx.AsyncClient) -> None:
    await client.get(URL)
    new = await rotated(client)
    assert await house.webhooks.default_secrets.signing(TENANT) == [new]


@pytest.mark.parametrize("grace_s", [-1, 7 * 24 * 3600 + 1, "1", None])
async def test_a_grace_that_breaks_its_rule_is_refused(client: httpx.AsyncClient, grace_s: object) -> None:
    old = (await client.get(URL)).json()
    problem(await client.post(f"{URL}/rotate", json={"grace_s": grace_s}), 400, "invalid_request", "grace_s")
    assert (await client.get(URL)).json() == old


async def test_while_the_store_is_away_the_client_is_told_to_try_again(house: House, client: httpx.AsyncClient) -> None:
    house.webhook_state.down = True
    for answer in (await client.get(URL), await client.post(f"{URL}/rotate")):
        assert "try again" in problem(answer, 503, "unavailable", None)["detail"].lower()
        assert answer.headers["retry-after"]


async def test_a_rotation_that_was_perhaps_done_is_told_as_such(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def perhaps(tenant: str, grace: timedelta) -> str:
        raise StoreUnavailable("no answer", perhaps_done=True)

    monkeypatch.setattr(house.webhooks.default_secrets, "rotate", perhaps)
    answer = await client.post(f"{URL}/rotate")
    assert "may or may not" in problem(answer, 503, "unavailable", None)["detail"]


async def test_without_keys_there_is_no_secret_and_no_job_has_a_webhook() -> None:
    house = House(webhook_keys=None)
    async with opened(house) as client:
        refused = await client.post("/v1/models/vector/jobs?webhook=https://example.com/", json=INPUT)
        assert "not available" in problem(refused, 400, "invalid_request", "webhook")["detail"]
        for answer in (await client.get(URL), await client.post(f"{URL}/rotate")):
            assert "PENSTOCK_WEBHOOK_KEYS" in problem(answer, 503, "key_missing", None)["detail"]
