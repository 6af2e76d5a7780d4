"""How many workers serve the versions that are rolled out, as Kafka says who is in their lanes."""

import asyncio
import time
from typing import Any, Final

from aiokafka.errors import KafkaError

from producers.kafka_client import open_client
from producers.lane_members import INTERVAL_S, LaneMembers
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError

log = get_logger(__name__)

REQUEST_TIMEOUT_S: Final = 5.0
# Two requests one after the other: who coordinates, and the members.
ASKED_WITHIN_S: Final = 2 * REQUEST_TIMEOUT_S
CLOSE_WITHIN_S: Final = 5.0
# What nobody has wanted to know for so long is not asked about any more.
WANTED_FOR_S: Final = 60.0

_FAILURES: Final = (KafkaError, OSError, TimeoutError, ConfigurationError)  # the last where a broker refuses us


class ServingWorkers:
    """Asks about whatever it was asked of late."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._members = LaneMembers(settings.topics, time.monotonic)
        self._wanted_s: dict[tuple[str, str], float] = {}
        self._failing = False

    def of(self, model: str, version: str) -> int | None:
        """None where that is not known: at first it never is."""
        self._wanted_s[model, version] = time.monotonic()
        return self._members.workers(model, version)

    async def run(self) -> None:
        """Run until canceled; the client is opened anew after a failure."""
        while True:
            try:
                await self._ask_for_ever()
            except _FAILURES as error:
                if not self._failing:
                    log.warning("who serves what is rolled out is not known", error=repr(error))
                self._failing = True
            await asyncio.sleep(INTERVAL_S)

    async def _ask_for_ever(self) -> None:
        async with open_client(
            self._settings,
            within_s=ASKED_WITHIN_S,
            close_within_s=CLOSE_WITHIN_S,
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
        ) as client:
            while True:
                await self._ask(client)
                self._failing = False
                await asyncio.sleep(INTERVAL_S)

    async def _ask(self, client: Any) -> None:
        now_s = time.monotonic()
        self._wanted_s = {each: at_s for each, at_s in self._wanted_s.items() if now_s - at_s <= WANTED_FOR_S}
        if self._wanted_s:
            async with asyncio.timeout(ASKED_WITHIN_S):
                await self._members.ask(client, self._wanted_s)
