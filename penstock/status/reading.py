"""What the parts of a stack say of themselves, asked at the same time and with an end."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from penstock.gateway_client import clients_for, told
from penstock.running import Found

TIMEOUT_S: Final = 5.0
LANE_DEPTH: Final = "penstock_gateway_lane_depth_records"

Document = dict[str, Any]


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
    roles: list[Role]
    versions: list[Version]


async def survey(found: Found) -> Survey:
    """Raises nothing: who does not answer is said not to."""
    health = found.running.health if found.running is not None else {"gateway": found.gateway_url}
    (client,) = clients_for(found.gateway_url, connections=16)
    async with client:
        roles, models, depths = await asyncio.gather(
            asyncio.gather(*(role_at(client, name, url) for name, url in health.items())),
            models_at(client, found.gateway_url),
            depths_at(client, found.gateway_url),
        )
    return Survey(roles=list(roles), versions=[each for model in models for each in versions_of(model, depths)])


async def role_at(client: httpx.AsyncClient, name: str, url: str) -> Role:
    try:
        answer = await client.get(f"{url}/readyz", timeout=TIMEOUT_S)
        page = answer.json()
        state = "ready" if page["ready"] else "not ready"
        return Role(name=name, url=url, state=state, checks=page["checks"], slower=page.get("slower", {}))
    except httpx.TransportError as error:
        return Role(name=name, url=url, state="no answer", reason=told(error))
    except (ValueError, KeyError, TypeError):
        return Role(name=name, url=url, state="no answer", reason="what answers there is no health page of ours")


async def models_at(client: httpx.AsyncClient, url: str) -> list[Document]:
    try:
        answer = await client.get(f"{url}/v1/models", timeout=TIMEOUT_S)
        models: list[Document] = answer.json()["data"] if answer.is_success else []
    except (httpx.TransportError, ValueError, KeyError, TypeError):
        return []  # of which the gateway's own line tells
    return models


async def depths_at(client: httpx.AsyncClient, url: str) -> Mapping[tuple[str, str, str], int]:
    """Records by model, version and class of lane."""
    try:
        answer = await client.get(f"{url}/metrics", timeout=TIMEOUT_S)
        families = list(text_string_to_metric_families(answer.text))
    except (httpx.TransportError, ValueError):
        return {}
    return {
        (sample.labels["model"], sample.labels["version"], sample.labels["lane"]): int(sample.value)
        for family in families
        for sample in family.samples
        if sample.name == LANE_DEPTH
    }


def versions_of(model: Document, depths: Mapping[tuple[str, str, str], int]) -> list[Version]:
    """One without a name stands for a model of which nothing can be read."""
    states = model["version_states"] or [{"version": "", "state": "refused", "reason": model["reason"]}]
    return [
        Version(
            model=model["id"],
            version=each["version"],
            default=each["version"] == model["default_version"],
            state=each["state"],
            reason=each["reason"],
            live_records=depths.get((model["id"], each["version"], "live")),
            bulk_records=depths.get((model["id"], each["version"], "bulk")),
        )
        for each in states
    ]
