"""The gateway and the other roles, as far as one is told where they are: what they say of their health."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from penstock.doctor.findings import Finding, Level, Tell, clock
from penstock.errors import in_a_line

SUBJECT: Final = "roles"
ANSWER_S: Final = 5.0
# The `Date` of an answer tells whole seconds.
DATE_RESOLUTION_S: Final = 1.0


class RolesCheck:
    """`health`: the base URL of each role's pages of health, by its name. `origin` says how the gateway was found."""

    def __init__(self, gateway_url: str, origin: str, health: Mapping[str, str]) -> None:
        self._urls = {"gateway": gateway_url, **{name: url for name, url in health.items() if name != "gateway"}}
        self._origin = origin

    async def __call__(self, tell: Tell) -> None:
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:
            for name, url in self._urls.items():
                await self._ask(client, name, url, tell)

    async def _ask(self, client: httpx.AsyncClient, name: str, url: str, tell: Tell) -> None:
        asked_at_s = time.time()
        try:
            answer = await client.get(f"{url}/readyz")
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            where = f" ({self._origin})" if name == "gateway" else ""
            told = f"{name} does not answer at {url}{where}: {in_a_line(error)}"
            tell(Finding(SUBJECT, Level.PROBLEM, told, "start it, or see its log"))
            return
        tell(health(name, url, document))
        if name.startswith("worker"):
            await self._ask_for_models(client, name, url, tell)
        if name == "gateway" and "date" in answer.headers:
            date_s = parsedate_to_datetime(answer.headers["date"]).timestamp()
            tell(clock(SUBJECT, date_s, asked_at_s - DATE_RESOLUTION_S, time.time()))

    async def _ask_for_models(self, client: httpx.AsyncClient, name: str, url: str, tell: Tell) -> None:
        """Whether they can be loaded, only a worker knows."""
        try:
            models = (await client.get(f"{url}/models")).json()
        except (httpx.HTTPError, ValueError):
            return
        for model, reason in models.get("failed", {}).items():
            tell(Finding(SUBJECT, Level.PROBLEM, f"{name} leaves out {model}: {reason}"))


def health(name: str, url: str, document: Mapping[str, Any]) -> Finding:
    """What `/readyz` says."""
    reasons = [f"{check}: {said}" for check, said in document.get("checks", {}).items() if said != "ok"]
    if document.get("ready"):
        slower = document.get("slower") or {}
        if slower:
            return Finding(SUBJECT, Level.WARNING, f"{name} is ready, but slower: {'; '.join(slower.values())}")
        return Finding(SUBJECT, Level.OK, f"{name} is ready at {url}")
    return Finding(SUBJECT, Level.PROBLEM, f"{name} is not ready: {'; '.join(reasons) or 'it does not say why'}")
