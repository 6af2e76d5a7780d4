"""How many partitions topics have, as the client knows it: it asks every few minutes by itself, so more are noticed."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from schemas.errors import PenstockError, QueueUnavailable, TopicMissing

ATTEMPTS: Final = 3
PAUSE_S: Final = 0.1


class PartitionCounts:
    """`client` is aiokafka's, which keeps the metadata of every topic it was asked about.

    Its own way to wait for a topic takes the whole request timeout to say that there is none, once for each record,
    and says the same when no broker answers.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def known(self, topics: Iterable[str]) -> dict[str, int]:
        """Of those topics that the client knows, the number of partitions."""
        counts = {name: self._client.cluster.partitions_for_topic(name) for name in topics}
        return {name: len(partitions) for name, partitions in counts.items() if partitions}

    async def of(self, topics: Iterable[str], until_s: float) -> Mapping[str, int | PenstockError]:
        """For each topic its number of partitions, or why it cannot be written to; by `until_s` of the loop's time."""
        wanted = set(topics)
        known: dict[str, int | PenstockError] = {**self.known(wanted)}
        if len(known) < len(wanted):
            known |= await self._ask(wanted - known.keys(), until_s)
        return known

    async def _ask(self, topics: set[str], until_s: float) -> dict[str, int | PenstockError]:
        for name in topics:
            self._client.add_topic(name)
        found: dict[str, int] = {}
        reached = False
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until_s):
                for attempt in range(ATTEMPTS):  # an update under way may have begun before it knew of the topics
                    if attempt:
                        await asyncio.sleep(PAUSE_S)
                    reached = bool(await self._client.force_metadata_update())
                    found = self.known(topics)
                    if len(found) == len(topics):
                        break
        return {name: found.get(name) or _why_not(name, reached) for name in topics}


def _why_not(topic: str, reached: bool) -> PenstockError:
    return TopicMissing(f"topic {topic} does not exist") if reached else QueueUnavailable("Kafka cannot be reached")
