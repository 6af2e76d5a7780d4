"""What the parts of a stack say of themselves, asked at the same time and with an end."""

import asyncio
from collections.abc import Mapping
from typing import Final, TypeVar

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from penstock.addresses import without_password
from penstock.documents import Health, Hold, Holds, Model, Models, VersionState, WebhookEndpoint, WebhookEndpoints
from penstock.gateway_client import clients_for, told
from penstock.running import Found
from producers.bulk.lines import UNREADABLE
from schemas.webhooks import Circuit

T = TypeVar("T")
TIMEOUT_S: Final = 5.0
# Of the newest endpoints, so many: more are for `penstock webhooks endpoints`.
ENDPOINTS: Final = 100
LANE_DEPTH: Final = "penstock_gateway_lane_depth_records"


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: `ready`, `not ready`, or `no answer`, of which `reason` tells more. `checks` are by name, `ok` or a
    reason; `slower` names what the role can do without for a while."""

    name: str
    url: str
    state: str
    reason: str | None = None
    checks: Mapping[str, str] = {}
    slower: Mapping[str, str] = {}


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """`live_records` and `bulk_records` wait in its lanes or are being run; None where that is not known."""

    model: str
    version: str
    default: bool
    state: str
    reason: str | None
    live_records: int | None
    bulk_records: int | None


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """`webhooks`: endpoints that are degraded or disabled."""

    roles: list[Role]
    versions: list[Version]
    holds: list[Hold]
    webhooks: list[WebhookEndpoint] = []


async def survey(found: Found) -> Survey:
    """Raises nothing: who does not answer is said not to."""
    health = found.running.health if found.running is not None else {"gateway": found.gateway_url}
    (client,) = clients_for(found.gateway_url, connections=16)
    async with client:
        roles, models, depths, holds, endpoints = await asyncio.gather(
            asyncio.gather(*(role_at(client, name, url) for name, url in health.items())),
            document_at(client, f"{found.gateway_url}/v1/models", Models),
            depths_at(client, found.gateway_url),
            document_at(client, f"{found.gateway_url}/v1/holds", Holds),
            document_at(client, f"{found.gateway_url}/v1/webhook_endpoints?limit={ENDPOINTS}", WebhookEndpoints),
        )
    versions = [each for model in (models.data if models else []) for each in versions_of(model, depths)]
    away = [each for each in (endpoints.data if endpoints else []) if each.status != Circuit.ACTIVE]
    return Survey(roles=list(roles), versions=versions, holds=holds.data if holds else [], webhooks=away)


async def page_at(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """Raises `httpx.RequestError`, and `TimeoutError` where the answer is not there in time, however it trickles."""
    async with asyncio.timeout(TIMEOUT_S):
        return await client.get(url)


async def role_at(client: httpx.AsyncClient, name: str, url: str) -> Role:
    shown = without_password(url)
    try:
        page = msgspec.json.decode((await page_at(client, f"{url}/readyz")).content, type=Health)
    except httpx.TransportError as error:
        return Role(name=name, url=shown, state="no answer", reason=told(error))
    except TimeoutError:
        return Role(name=name, url=shown, state="no answer", reason=f"no answer within {TIMEOUT_S:g} s")
    except (httpx.RequestError, *UNREADABLE):
        return Role(name=name, url=shown, state="no answer", reason="what answers there is no health page of ours")
    return Role(
        name=name, url=shown, state="ready" if page.ready else "not ready", checks=page.checks, slower=page.slower
    )


async def document_at(client: httpx.AsyncClient, url: str, shape: type[T]) -> T | None:
    """None where there is none, of which the gateway's own line tells."""
    try:
        answer = await page_at(client, url)
        return msgspec.json.decode(answer.content, type=shape) if answer.is_success else None
    except (httpx.RequestError, TimeoutError, *UNREADABLE):
        return None


async def depths_at(client: httpx.AsyncClient, url: str) -> Mapping[tuple[str, str, str], int]:
    """Records by model, version and class of lane."""
    try:
        answer = await page_at(client, f"{url}/metrics")
        return {
            (sample.labels["model"], sample.labels["version"], sample.labels["lane"]): int(sample.value)
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == LANE_DEPTH
        }
    except (httpx.RequestError, TimeoutError, ValueError, KeyError, OverflowError):
        return {}


def versions_of(model: Model, depths: Mapping[tuple[str, str, str], int]) -> list[Version]:
    """One without a name stands for a model of which nothing can be read."""
    states = model.version_states or [VersionState("", "refused", model.reason)]
    return [
        Version(
            model=model.id,
            version=each.version,
            default=each.version == model.default_version,
            state=each.state,
            reason=each.reason,
            live_records=depths.get((model.id, each.version, "live")),
            bulk_records=depths.get((model.id, each.version, "bulk")),
        )
        for each in states
    ]
