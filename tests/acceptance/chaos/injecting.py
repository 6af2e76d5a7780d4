"""Making a stack suffer what a schedule says."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import redis
import redis.asyncio

from penstock.errors import StackError
from penstock.part import Part
from penstock.stack import Stack
from tests.acceptance.chaos.faults import Fault, Kind
from tests.acceptance.chaos.journal import Journal
from tests.waiting import until


def part_of(stack: Stack, name: str) -> Part:
    """A role by its name, or `Kafka`, `Postgres`, `Valkey`."""
    return {part.name: part for part in (*stack.services.parts, *stack.roles.values())}[name]


class Injector:
    """Stands in for the orchestrator, too: what it has ended it starts again, so that schedules say for how long.

    Parts that are just starting are not spared. `journal` tells when each was away.
    """

    def __init__(self, stack: Stack, announce: Callable[[str], None]) -> None:
        self.journal = Journal()
        self._stack = stack
        self._announce = announce
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._starting: dict[str, asyncio.Task[None]] = {}

    async def inject(self, faults: Sequence[Fault]) -> None:
        """Each at its time, several at once where it comes so; returns when every part is back."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await until(began + fault.at_s)
                group.create_task(self._suffer(fault))
        await asyncio.gather(*self._starting.values())

    async def _suffer(self, fault: Fault) -> None:
        async with self._one_at_a_time[fault.part]:
            if fault.kind is Kind.FORGET:
                await self._forget(fault)
                return
            await self._interrupt_start(fault.part)
            part = part_of(self._stack, fault.part)
            self._announce(f"{fault.kind} {fault.part}, away for {fault.down_s:.1f} s")
            self.journal.gone(fault.part)
            if fault.kind is Kind.KILL and part.running:
                part.kill()
            await part.stop()
            await until(time.monotonic() + fault.down_s)
            self._starting[fault.part] = asyncio.create_task(self._start(part))

    async def _forget(self, fault: Fault) -> None:
        if fault.part in self._starting:
            await self._starting[fault.part]
        self._announce(f"{fault.kind} {fault.part}")
        try:
            async with redis.asyncio.Redis.from_url(self._stack.redis_url) as client:
                await client.flushall()
        except redis.RedisError as error:
            self._announce(f"Valkey could not be made to forget: {error}")

    async def _interrupt_start(self, name: str) -> None:
        starting = self._starting.pop(name, None)
        if starting is not None:
            starting.cancel()
            await asyncio.wait([starting])

    async def _start(self, part: Part) -> None:
        while not part.running:
            try:
                await part.start()
            except StackError as error:  # others may be away that it needs
                self._announce(str(error))
        self.journal.back(part.name)
