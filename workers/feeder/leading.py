"""Who feeds: one feeder at a time, by a lease that it renews while it works."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from stores.batches import LEAD_S, BatchWork, Lead, LeadLost
from workers.feeder import metrics

log = get_logger(__name__)

RENEW_EVERY_S: Final = LEAD_S / 4
# How often another's lease is tried. With the lease itself this is how long nobody feeds where a feeder was killed.
STAND_BY_S: Final = 1.0
# How long the round that is under way may go on once this feeder is to stop.
DRAIN_S: Final = 10.0

Feeding = Callable[[Lead, asyncio.Event], Awaitable[None]]


class Leading:
    """`trouble` says why this feeder neither feeds nor stands by."""

    def __init__(
        self,
        work: BatchWork,
        *,
        renew_every_s: float = RENEW_EVERY_S,
        stand_by_s: float = STAND_BY_S,
        drain_s: float = DRAIN_S,
    ) -> None:
        self._work = work
        self._renew_every_s = renew_every_s
        self._stand_by_s = stand_by_s
        self._drain_s = drain_s
        self._token = os.urandom(16).hex()
        self.trouble: str | None = "it is not known yet who feeds"
        self.leads = False

    async def run(self, feed: Feeding, stop: asyncio.Event) -> None:
        """Have `feed` run whenever the lease is ours, until `stop`, which it is to heed. It may raise `LeadLost`."""
        while not stop.is_set():
            lead = await self._try()
            if lead is not None:
                log.info("feeding")
                try:
                    await self._while_leading(lead, feed, stop)
                finally:
                    self._set_leads(False)
                    with suppress(StoreUnavailable):
                        await self._work.leave(lead)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._stand_by_s):
                    await stop.wait()

    def _set_leads(self, leads: bool) -> None:
        self.leads = leads
        metrics.LEADS.set(leads)

    async def _try(self) -> Lead | None:
        try:
            lead = await self._work.lead(self._token)
        except StoreUnavailable as error:
            self.trouble = error.message
            return None
        self.trouble = None
        self._set_leads(lead is not None)
        return lead

    async def _while_leading(self, lead: Lead, feed: Feeding, stop: asyncio.Event) -> None:
        """Ends with the lease or with `feed`, at the latest some time after `stop`."""
        feeding = asyncio.ensure_future(feed(lead, stop))
        renewing = asyncio.ensure_future(self._renew())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({feeding, renewing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                both = {feeding, renewing}
                await asyncio.wait(both, timeout=self._drain_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (renewing, stopping):
                task.cancel()
            if not feeding.done():
                feeding.cancel()
            await asyncio.gather(renewing, stopping, feeding, return_exceptions=True)
        if not feeding.cancelled() and (error := feeding.exception()) is not None:
            if not isinstance(error, LeadLost):
                raise error
            log.warning("another feeder feeds now")

    async def _renew(self) -> None:
        """Returns once the lease is not ours any more, or may not be."""
        loop = asyncio.get_running_loop()
        known_until_s = loop.time() + LEAD_S
        while loop.time() < known_until_s:
            await asyncio.sleep(self._renew_every_s)
            asked_s = loop.time()
            lead = await self._try()
            if lead is not None:
                known_until_s = asked_s + LEAD_S
            elif self.trouble is None:
                return
