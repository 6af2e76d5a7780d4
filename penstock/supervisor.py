"""Starts what died again, later each time, and says so."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from signal import Signals

from penstock.errors import in_a_line
from penstock.part import Part
from runtime.backoff import delays_s

# Whoever waits for a role waits for it to start, too: at once the first time, later when it dies again and again.
SECOND_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
# Who ran this long was well: its next death is a first one.
WELL_AFTER_S = 60.0


def restart_delays_s() -> Iterator[float]:
    yield 0.0
    yield from delays_s(first_s=SECOND_DELAY_S, cap_s=LONGEST_DELAY_S)


class Supervisor:
    """Watches parts that run. One that was stopped on purpose is left alone until it is started again."""

    def __init__(
        self,
        parts: Sequence[Part],
        announce: Callable[[str], None],
        delays: Callable[[], Iterator[float]] = restart_delays_s,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = tuple(parts)
        self._announce = announce
        self._delays = delays
        self._clock = clock

    async def run(self) -> None:
        """Never returns."""
        async with asyncio.TaskGroup() as watches:
            for part in self._parts:
                watches.create_task(self._watch(part), name=f"watch {part.name}")

    async def _watch(self, part: Part) -> None:
        delays = self._delays()
        while True:
            await part.wait_until_wanted()
            began = self._clock()
            status = await part.wait()
            if not part.wanted or part.running:  # stopped, or somebody was faster than we
                continue
            if self._clock() - began >= WELL_AFTER_S:
                delays = self._delays()
            delay_s = next(delays)
            self._announce(f"{part.name} {describe(status)}; starting it again in {delay_s:.1f} s")
            await asyncio.sleep(delay_s)
            await self._until_it_runs(part, delays)

    async def _until_it_runs(self, part: Part, delays: Iterator[float]) -> None:
        """Try until it is there, or is not wanted any more. The same reason is told once, however often it is met."""
        told = ""
        while part.wanted and not part.running:
            try:
                await part.start_again()
            except Exception as error:  # whatever it is: the others are watched on
                why = in_a_line(error)
                if same_but_for_numbers(why) != told:
                    told = same_but_for_numbers(why)
                    self._announce(f"{why}; trying again until it can")
                await asyncio.sleep(next(delays))
        if part.running:
            self._announce(f"{part.name} runs again")


def same_but_for_numbers(text: str) -> str:
    """Last words of a log hold times and process ids, which are others at each try."""
    return re.sub(r"\d+", "#", text)


def describe(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        return f"was ended by {signal_name(-status)}"
    if status == 0:
        return "ended"
    return f"failed with exit status {status}"


def signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:  # the real-time signals have no names
        return f"signal {number}"
