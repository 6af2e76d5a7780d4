"""Asks Kafka about once a second how far each lane's group is behind, for `gateway.lane_depth`."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from aiokafka.errors import KafkaError

from gateway.lane_depth import LaneDepths
from gateway.metrics import LANE_DEPTH
from producers.kafka_client import KafkaClient, open_client
from producers.lane_members import INTERVAL_S as MEMBERS_EVERY_S
from producers.lane_members import LaneMembers
from producers.lane_offsets import LaneOffsets
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError
from schemas.topics import Lane

log = get_logger(__name__)

INTERVAL_S: Final = 1.0
REQUEST_TIMEOUT_S: Final = 5.0
# Six requests one after the other: metadata, coordinator, offsets, beginnings; coordinator, members.
POLL_TIMEOUT_S: Final = 6 * REQUEST_TIMEOUT_S
CLOSE_TIMEOUT_S: Final = 5.0
# A lane that is not answered for so long is told about. It goes on taking as many records as a lane may hold.
UNKNOWN_AFTER_S: Final = 30.0
_FAILURES: Final = (KafkaError, OSError, TimeoutError)


class LanePoller:
    """Feeds `depths` for every lane that `lanes` names, and asks now and then who the `members` of these are.

    `trouble` says why no lane's depth is known, or is None; `unknown` says which have not been known for long.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        depths: LaneDepths,
        lanes: Callable[[], Iterable[Lane]],
        members: LaneMembers | None = None,
    ) -> None:
        self._settings = settings
        self._depths = depths
        self._lanes = lanes
        self._members = members
        self._members_asked_at_s = -MEMBERS_EVERY_S
        self._known_at_s: dict[Lane, float] = {}
        self._told: frozenset[Lane] = frozenset()
        self.trouble: str | None = "Kafka has not been asked yet"

    @property
    def unknown(self) -> str | None:
        if not self._told:
            return None
        return f"how full these lanes are is not known: {', '.join(sorted(map(str, self._told)))}"

    async def run(self) -> None:
        """Poll until canceled; the client is opened anew after a failure."""
        while True:
            try:
                await self._poll_for_ever()
            except (*_FAILURES, ConfigurationError) as error:  # the last where a broker refuses us
                if self.trouble is None:
                    log.warning("lane depths cannot be read", error=repr(error))
                self.trouble = "Kafka cannot be reached"
            await asyncio.sleep(INTERVAL_S)

    async def _poll_for_ever(self) -> None:
        async with open_client(
            self._settings,
            within_s=POLL_TIMEOUT_S,
            close_within_s=CLOSE_TIMEOUT_S,
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
        ) as client:
            offsets = LaneOffsets(client, self._settings.topics)
            while True:
                async with asyncio.timeout(POLL_TIMEOUT_S):
                    await self._poll(offsets)
                    await self._ask_members(client)
                await asyncio.sleep(INTERVAL_S)

    async def _poll(self, offsets: LaneOffsets) -> None:
        lanes = {lane: self._depths.admitted(lane) for lane in self._lanes()}
        answered = await offsets.of(lanes)
        now_s = time.monotonic()
        for lane, seen in answered.items():
            self._depths.update(lane, seen, admitted_before=lanes[lane], now_s=now_s)
            self._known_at_s[lane] = now_s
            LANE_DEPTH.labels(lane.model, lane.version, lane.cls).set(self._depths.depth(lane))
        self._tell_unknown(lanes, now_s)

    async def _ask_members(self, client: KafkaClient) -> None:
        now_s = time.monotonic()
        if self._members is not None and now_s - self._members_asked_at_s >= MEMBERS_EVERY_S:
            self._members_asked_at_s = now_s
            await self._members.ask(client, {(lane.model, lane.version) for lane in self._lanes()})

    def _tell_unknown(self, lanes: Iterable[Lane], now_s: float) -> None:
        unknown = frozenset(
            lane for lane in lanes if now_s - self._known_at_s.setdefault(lane, now_s) > UNKNOWN_AFTER_S
        )
        for lane in unknown - self._told:
            log.warning("how full a lane is has not been known for long", lane=str(lane))
        self._told = unknown
        self.trouble = "Kafka does not say how full any lane is" if unknown and unknown == frozenset(lanes) else None
