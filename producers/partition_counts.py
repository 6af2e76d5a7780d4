"""How many partitions topics have, as the client knows it: it asks every few minutes by itself, so more are noticed."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from schemas.errors import PenstockError, QueueUnavailable, TopicMissing

ATTEMPTS: Final = 3
PAUSE_S: Final = 0.1
UPDATE_TIMEOUT_S: Final = 5.0


class PartitionCounts:
    """`client` is aiokafka's, which keeps the metadata of every topic it was asked about.

    Its own way to wait for a topic takes the whole request timeout to say that there is none, once for each record,
    and says the same when no broker answers.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._doubted: set[str] = set()

    def forget(self, topic: str) -> None:
        """Ask again next time: the topic may have been deleted or made anew."""
        self._doubted.add(topic)

    async def of(self, topics: Iterable[str]) -> Mapping[str, int | PenstockError]:
        """For each topic its number of partitions, or why it cannot be written to."""
        wanted = set(topics)
        known: dict[str, int | PenstockError] = {**self._known(wanted - self._doubted)}
        if len(known) < len(wanted):
            known |= await self._ask(wanted - known.keys())
        return known

    def _known(self, topics: set[str]) -> dict[str, int]:
        counts = {name: self._client.cluster.partitions_for_topic(name) for name in topics}
        return {name: len(partitions) for name, partitions in counts.items() if partitions}

    async def _ask(self, topics: set[str]) -> dict[str, int | PenstockError]:
        found: dict[str, int] = {}
        reached = False
        for attempt in range(ATTEMPTS):  # an update under way may have begun before it knew of the topics
            if attempt:
                await asyncio.sleep(PAUSE_S)
            reached = await self._update(topics)
            found = self._known(topics)
            if len(found) == len(topics):
                break
        if reached:
            self._doubted -= found.keys()
        return {name: found.get(name) or _why_not(name, reached) for name in topics}

    async def _update(self, topics: set[str]) -> bool:
        """Whether a broker has answered."""
        for name in topics:
            self._client.add_topic(name)
        try:
            async with asyncio.timeout(UPDATE_TIMEOUT_S):
                return bool(await self._client.force_metadata_update())
        except TimeoutError:
            return False


def _why_not(topic: str, reached: bool) -> PenstockError:
    return TopicMissing(f"topic {topic} does not exist") if reached else QueueUnavailable("Kafka cannot be reached")
