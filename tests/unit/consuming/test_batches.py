"""Fetching batches and working on several at once."""

import asyncio
from collections.abc import Sequence

import pytest

from producers.memory import MemoryLog
from runtime.lifecycle import BackgroundTasks
from schemas.records import OutRecord
from tests.waiting import eventually
from workers.batches import Batches
from workers.consuming.protocols import Record
from workers.memory import MemoryGroup


class Worker:
    """Holds every batch until it is let go."""

    def __init__(self) -> None:
        self.begun: list[list[bytes | None]] = []
        self.gate = asyncio.Event()
        self.finished = 0

    async def work(self, records: Sequence[Record]) -> None:
        self.begun.append([record.value for record in records])
        await self.gate.wait()
        self.finished += 1


async def write(log: MemoryLog, *values: bytes) -> None:
    await log.publish_all([OutRecord("things", None, value, [], 0) for value in values])


async def test_a_lone_record_is_worked_on_at_once_and_the_next_beside_it() -> None:
    log, worker, stop = MemoryLog(), Worker(), asyncio.Event()
    async with MemoryGroup(log, ["things"]).member() as member, BackgroundTasks(stop) as side:
        side.start(Batches(member, worker.work, largest=10, at_once=2).run(stop, side), "run")
        await write(log, b"1")
        await eventually(lambda: worker.begun == [[b"1"]])
        await write(log, b"2")
        await eventually(lambda: worker.begun == [[b"1"], [b"2"]])


async def test_when_all_places_are_taken_nothing_is_fetched_and_the_next_batch_grows() -> None:
    log, worker, stop = MemoryLog(), Worker(), asyncio.Event()
    async with MemoryGroup(log, ["things"]).member() as member, BackgroundTasks(stop) as side:
        side.start(Batches(member, worker.work, largest=3, at_once=1).run(stop, side), "run")
        await write(log, b"1")
        await eventually(lambda: worker.begun == [[b"1"]])
        await write(log, b"2", b"3", b"4", b"5")
        assert member.open_count == 1

        worker.gate.set()
        await eventually(lambda: worker.finished == 3)
        assert worker.begun == [[b"1"], [b"2", b"3", b"4"], [b"5"]]


async def test_after_the_stop_nothing_is_fetched_and_open_batches_go_on() -> None:
    log, worker, stop = MemoryLog(), Worker(), asyncio.Event()
    async with MemoryGroup(log, ["things"]).member() as member, BackgroundTasks(stop) as side:
        running = side.start(Batches(member, worker.work, largest=3, at_once=2).run(stop, side), "run")
        await write(log, b"1")
        await eventually(lambda: worker.begun == [[b"1"]])

        stop.set()
        await running
        await write(log, b"2")
        worker.gate.set()
        await eventually(lambda: worker.finished == 1)
        assert worker.begun == [[b"1"]]


async def test_a_batch_that_fails_ends_the_role() -> None:
    log, stop = MemoryLog(), asyncio.Event()

    async def fail(_records: Sequence[Record]) -> None:
        raise ZeroDivisionError

    async def role() -> None:
        async with MemoryGroup(log, ["things"]).member() as member, BackgroundTasks(stop) as side:
            await write(log, b"1")
            await Batches(member, fail, largest=3, at_once=2).run(stop, side)

    with pytest.raises(ZeroDivisionError):
        await role()
