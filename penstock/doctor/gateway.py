"""The gateway and the other roles, as far as one is told where they are: what they say of their health."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import msgspec

from penstock.addresses import without_password
from penstock.doctor.findings import Finding, Level, Tell, clock
from penstock.documents import Health, Served
from penstock.errors import in_a_line
from penstock.gateway_client import clients_for
from producers.bulk.lines import UNREADABLE

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
        await asyncio.gather(*(self._ask(name, url, tell) for name, url in self._urls.items()))

    async def _ask(self, name: str, url: str, tell: Tell) -> None:
        asked_at_s = time.time()
        try:
            answer = await _answer(url, "/readyz")
            page = msgspec.json.decode(answer.content, type=Health)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, *UNREADABLE) as error:
            where = f" ({self._origin})" if name == "gateway" else ""
            told = f"{name} does not answer at {without_password(url)}{where}: {in_a_line(error)}"
            tell(Finding(SUBJECT, Level.PROBLEM, told, "start it, or see its log"))
            return
        tell(health(name, without_password(url), page))
        if name.startswith("worker"):
            await self._ask_for_models(name, url, tell)
        if name == "gateway" and "date" in answer.headers:
            with suppress(ValueError, OverflowError):  # a date that is none tells nothing
                date_s = parsedate_to_datetime(answer.headers["date"]).timestamp()
                tell(clock(SUBJECT, date_s, asked_at_s - DATE_RESOLUTION_S, time.time()))

    async def _ask_for_models(self, name: str, url: str, tell: Tell) -> None:
        """Whether they can be loaded, only a worker knows."""
        try:
            page = msgspec.json.decode((await _answer(url, "/models")).content, type=Served)
        except (httpx.HTTPError, TimeoutError, *UNREADABLE):
            return
        for model, reason in page.failed.items():
            tell(Finding(SUBJECT, Level.PROBLEM, f"{name} leaves out {model}: {reason}"))


async def _answer(url: str, path: str) -> httpx.Response:
    """As other commands ask: through a proxy, where the environment names one that can reach the URL."""
    (client,) = clients_for(url, connections=1)
    async with client, asyncio.timeout(ANSWER_S):
        return await client.get(url + path)


def health(name: str, url: str, page: Health) -> Finding:
    """What `/readyz` says."""
    reasons = [f"{check}: {said}" for check, said in page.checks.items() if said != "ok"]
    if page.ready:
        if page.slower:
            return Finding(SUBJECT, Level.WARNING, f"{name} is ready, but slower: {'; '.join(page.slower.values())}")
        return Finding(SUBJECT, Level.OK, f"{name} is ready at {url}")
    return Finding(SUBJECT, Level.PROBLEM, f"{name} is not ready: {'; '.join(reasons) or 'it does not say why'}")
