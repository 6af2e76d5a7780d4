"""Asks the store every now and then whether it answers, for readiness."""

import asyncio
from typing import Final

from schemas.errors import StoreUnavailable
from schemas.names import DEFAULT_TENANT
from stores.protocols import JobKey, Jobs

INTERVAL_S: Final = 2.0
TIMEOUT_S: Final = 5.0
# A lookup that touches the table and finds nothing.
NOBODY: Final = JobKey(DEFAULT_TENANT, "probe")


class StoreProbe:
    """`trouble` says why the last question was not answered, or is None."""

    def __init__(self, jobs: Jobs, *, interval_s: float = INTERVAL_S) -> None:
        self._jobs = jobs
        self._interval_s = interval_s
        self.trouble: str | None = "Postgres has not been asked yet"

    async def run(self) -> None:
        """Ask until canceled."""
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._jobs.get(NOBODY)
                self.trouble = None
            except StoreUnavailable as error:
                self.trouble = error.message
            except TimeoutError:
                self.trouble = "Postgres does not answer"
            await asyncio.sleep(self._interval_s)
