"""The sink keeps what shadows were found to answer, whatever comes and whatever is away."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from producers.memory import MemoryLog
from schemas.errors import InvalidInput
from schemas.records import OutRecord
from schemas.shadows import Disagreement, Pair, ShadowFinding, encode_finding
from schemas.topics import Topics
from stores.memory_shadows import MemoryShadows
from stores.shadows import ShadowAsked
from tests.unit.inference.jobs import NOON
from tests.waiting import eventually
from workers.memory import MemoryConsumer, MemoryGroup
from workers.sink.shadow_findings import FindingsPipeline

TOPICS = Topics("unit")
PAIR = Pair(tenant="acme", model="digits", version="2", shadow_of="1")


def finding(job: str) -> Disagreement:
    return Disagreement(pair=PAIR, job=job, at=NOON, why="label")


class Picky(MemoryShadows):
    """Holds nothing of the job `bad`."""

    async def keep(self, findings: Sequence[ShadowFinding]) -> None:
        if any(isinstance(each, Disagreement) and each.job == "bad" for each in findings):
            raise InvalidInput("no store can hold it")
        await super().keep(findings)


class House:
    def __init__(self, log: MemoryLog, consumer: MemoryConsumer) -> None:
        self.log = log
        self.consumer = consumer
        self.store = Picky()
        self.pipeline = FindingsPipeline(consumer, log, self.store, TOPICS.shadows_group)

    async def tell(self, *values: bytes | None) -> None:
        await self.log.publish_all([OutRecord(TOPICS.shadows, b"w", value, []) for value in values])
        records = await self.consumer.fetch(100, 1.0)
        await self.pipeline.work(records)

    async def jobs(self) -> list[str]:
        found = await self.store.disagreements(ShadowAsked("acme", "digits"), after=None, limit=100)
        return sorted(each.job for each in found)

    def dead(self) -> list[bytes | None]:
        return [out.value for out in self.log.records(TOPICS.dead_letter(TOPICS.shadows))]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    log = MemoryLog(partitions=1)
    async with MemoryGroup(log, [TOPICS.shadows]).member() as consumer:
        yield House(log, consumer)


async def test_findings_are_kept_and_what_is_none_is_a_dead_letter(house: House) -> None:
    await house.tell(encode_finding(finding("a")), b"{", None, encode_finding(finding("b")))
    assert await house.jobs() == ["a", "b"]
    assert house.dead() == [b"{", None]
    assert house.consumer.open_count == 0


async def test_what_no_store_can_hold_keeps_none_of_the_others(house: House) -> None:
    await house.tell(*(encode_finding(finding(job)) for job in ("a", "bad", "b", "c")))
    assert await house.jobs() == ["a", "b", "c"]
    assert house.dead() == [encode_finding(finding("bad"))]
    assert house.consumer.open_count == 0


async def test_while_the_store_is_away_it_is_tried_again(house: House) -> None:
    house.store.down = True
    telling = asyncio.create_task(house.tell(encode_finding(finding("a"))))
    await eventually(lambda: house.consumer.open_count == 1)
    house.store.down = False
    await telling
    assert await house.jobs() == ["a"]
