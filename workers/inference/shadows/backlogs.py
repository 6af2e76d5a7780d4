"""How long the lanes of shadows are, asked of Kafka every few seconds: no copy goes into one that lags."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final

from aiokafka.errors import KafkaError

from producers.kafka_client import open_client
from producers.lane_offsets import LaneOffsets
from producers.routes import Routes
from runtime.backoff import delays_s
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import PenstockError
from schemas.topics import Lane, LaneClass

log = get_logger(__name__)

LOOK_EVERY_S: Final = 2.0
LOOK_WITHIN_S: Final = 10.0
CLOSE_WITHIN_S: Final = 2.0
# Records, those of real bulk jobs among them: a shadow comes after these.
MOST_WAITING: Final = 500

_FAILURES: Final = (KafkaError, OSError, TimeoutError, PenstockError)


class Backlogs:
    """`models` are those that this worker serves: others it copies nothing of."""

    def __init__(self, settings: KafkaSettings, routes: Routes, models: Callable[[], Collection[str]]) -> None:
        self._settings = settings
        self._routes = routes
        self._models = models
        self._waiting: Mapping[Lane, int] = {}

    def has_room(self, lane: Lane) -> bool:
        """Not as long as nothing is known of the lane."""
        waiting = self._waiting.get(lane)
        return waiting is not None and waiting < MOST_WAITING

    async def run(self) -> None:
        """Run until canceled."""
        delays = delays_s()
        while True:
            try:
                await self._look()
                delays = delays_s()
            except _FAILURES as error:
                log.warning("how long shadows' lanes are is not known: nothing is copied", error=repr(error))
            self._waiting = {}
            await asyncio.sleep(next(delays))

    async def _look(self) -> None:
        """Until no shadow is left."""
        if not self._lanes():
            await asyncio.sleep(LOOK_EVERY_S)
            return
        async with open_client(self._settings, close_within_s=CLOSE_WITHIN_S) as client:
            offsets = LaneOffsets(client, self._settings.topics)
            while lanes := self._lanes():
                async with asyncio.timeout(LOOK_WITHIN_S):
                    seen = await offsets.of(lanes)
                self._waiting = {lane: sum(each.waiting.values()) for lane, each in seen.items()}
                await asyncio.sleep(LOOK_EVERY_S)

    def _lanes(self) -> list[Lane]:
        routes = [route for model in self._models() if (route := self._routes.of.get(model)) is not None]
        return [Lane(route.model, shadow.version, LaneClass.BULK) for route in routes for shadow in route.shadow]
