"""What was found is told as the hour so far: nothing is lost with a record, and nothing counts twice."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest

from producers.memory import MemoryLog
from producers.topics import SHADOWS_RETENTION_MS
from schemas.errors import OutcomeUnknown, PayloadTooLarge, PenstockError, QueueUnavailable
from schemas.records import OutRecord
from schemas.shadows import Disagreement, Pair, ShadowHour, ShadowSums, decode_finding, encode_finding
from schemas.stats import NOTHING
from schemas.topics import Lane, LaneClass
from stores.memory_shadows import MemoryShadows
from stores.shadows import ShadowAsked
from tests.unit.inference.jobs import NOON, TOPICS
from tests.unit.inference.worker import Clock
from workers.inference.counting.tally import Tallies
from workers.inference.shadows.findings import MOST_PAIRS, MOST_UNTOLD, TELL_EVERY_S, Findings

PAIR = Pair(tenant="acme", model="digits", version="2", shadow_of="1")
OTHER = msgspec.structs.replace(PAIR, tenant="other")


class House:
    def __init__(self) -> None:
        self.log = MemoryLog(partitions=1)
        self.clock = Clock()
        self.tallies = Tallies()
        self.findings = Findings(self.tallies, self.log, TOPICS, self.clock)

    def told(self) -> list[ShadowHour | Disagreement]:
        return [decode_finding(out.value) for out in self.log.records(TOPICS.shadows)]

    async def totals(self, tenant: str = PAIR.tenant) -> dict[str, int]:
        """What a store makes of all that was told, in whatever order and however often."""
        store = MemoryShadows()
        await store.keep([*self.told(), *reversed(self.told())])
        (found,) = await store.sums(ShadowAsked(tenant, "digits"), NOON)
        totals: dict[str, int] = msgspec.to_builtins(found.sums)
        return totals


def disagreement(number: int = 0) -> Disagreement:
    return Disagreement(pair=PAIR, job=f"job_{number}", at=NOON, why="label")


async def test_all_of_the_hour_is_told_each_time_that_something_is_counted() -> None:
    house = House()
    house.findings.copied(PAIR)
    house.findings.dropped(PAIR, "lag")
    await house.findings.tell_now()
    await house.findings.tell_now()
    assert len(house.told()) == 1, "nothing new, nothing told"
    house.findings.compared(PAIR, None)
    house.findings.compared(PAIR, disagreement())
    house.findings.invalid(PAIR)
    house.findings.copied(OTHER)
    await house.findings.tell_now()
    assert await house.totals() == {"copied": 1, "dropped": {"lag": 1}, "agreed": 1, "disagreed": 1, "invalid": 1}
    assert await house.totals("other") == {"copied": 1}
    assert disagreement() in house.told()


async def test_a_new_hour_begins_from_nothing_and_loses_nothing_of_the_one_before() -> None:
    house = House()
    house.findings.copied(PAIR)
    house.clock.advance(3600)
    house.findings.copied(PAIR)
    await house.findings.tell_now()
    hours = [each for each in house.told() if isinstance(each, ShadowHour)]
    assert [each.hour for each in hours] == [NOON, NOON + timedelta(hours=1)]
    assert await house.totals() == {"copied": 2}


@pytest.mark.parametrize("error", [QueueUnavailable("away"), OutcomeUnknown("who knows"), RuntimeError("no")])
async def test_what_could_not_be_told_is_told_with_the_next(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    house.findings.copied(PAIR)
    house.findings.compared(PAIR, disagreement())

    async def fails(records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        if isinstance(error, PenstockError):
            return [error for _ in records]
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(house.log, "publish_all", fails)
        await house.findings.tell_now()
        house.clock.advance(3600)
        house.findings.copied(PAIR)
        await house.findings.tell_now()
    assert house.told() == []
    house.findings.copied(PAIR)
    await house.findings.tell_now()
    assert await house.totals() == {"copied": 3, "disagreed": 1}
    assert disagreement() in house.told()


async def test_what_can_never_be_told_is_let_go() -> None:
    house = House()
    house.findings.compared(PAIR, disagreement())
    house.log.fail_next = [PayloadTooLarge("no")] * 2
    await house.findings.tell_now()
    await house.findings.tell_now()
    assert house.told() == []


async def test_only_some_disagreements_a_second_are_told_and_all_are_counted() -> None:
    house = House()
    for number in range(500):
        house.findings.compared(PAIR, disagreement(number))
    await house.findings.tell_now()
    single = [each for each in house.told() if isinstance(each, Disagreement)]
    assert 1 <= len(single) < 100
    assert await house.totals() == {"disagreed": 500}


async def test_what_is_kept_is_bounded_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    for number in range(MOST_PAIRS + 10):
        house.findings.copied(msgspec.structs.replace(PAIR, tenant=f"tenant-{number}"))
    assert len(house.findings._sums) == MOST_PAIRS

    async def fails(records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        return [QueueUnavailable("away")] * len(records)

    monkeypatch.setattr(house.log, "publish_all", fails)
    for _ in range(3):
        house.clock.advance(3600)
        house.findings.copied(PAIR)
        await house.findings.tell_now()
    assert len(house.findings._untold) <= MOST_UNTOLD
    assert len(house.findings._past) <= MOST_PAIRS


async def test_an_hour_that_could_not_be_told_is_kept_whatever_disagreements_come_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House()
    house.findings.copied(PAIR)
    house.clock.advance(3600)
    monkeypatch.setattr(house.findings._room, "left", lambda _: 1.0)
    for number in range(MOST_UNTOLD + 1):
        house.findings.compared(PAIR, disagreement(number))
    await house.findings.tell_now()
    assert await house.totals() == {"copied": 1, "disagreed": MOST_UNTOLD + 1}


def test_what_a_worker_tells_of_a_pair_all_the_time_takes_little_of_the_topic() -> None:
    sums = ShadowSums(copied=10**6, agreed=10**6, disagreed=10**4, dropped={"rows_per_s": 10**6, "lag": 10**5})
    record = encode_finding(ShadowHour(pair=PAIR, worker="worker-7d9f8b6c5d-x2x4z-0123456789ab", hour=NOON, sums=sums))
    told_s = SHADOWS_RETENTION_MS / 1000
    assert len(record) * told_s / TELL_EVERY_S < 16 * 1024 * 1024


async def test_the_judge_has_its_counts_from_the_shadows_live_lane() -> None:
    house = House()
    house.findings.compared(PAIR, None)
    house.findings.compared(OTHER, disagreement())
    house.findings.dropped(PAIR, "lag")
    house.findings.invalid(PAIR)
    taken = dict(house.tallies.take())
    live = Lane("digits", "2", LaneClass.LIVE)
    assert taken == {live: msgspec.structs.replace(NOTHING, shadowed={"1": 2}, disagreed={"1": 1})}
