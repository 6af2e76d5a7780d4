"""What dies is started again; what is stopped stays stopped."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count, repeat
from pathlib import Path

import asyncpg
import pytest

from penstock.child import Launch
from penstock.errors import StackError
from penstock.part import Part
from penstock.reaper import Reaper
from penstock.supervisor import Supervisor, describe
from tests.integration.embedded.shell_program import ShellProgram
from tests.waiting import eventually, soon

FOREVER = "exec sleep 600"


class Watched:
    """A supervisor at work over one part, with all it announced and every delay it took."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.announced: list[str] = []
        self.rounds = 0
        self.now_s = 0.0
        self.supervisor = Supervisor([part], self.announced.append, delays=self._delays, clock=lambda: self.now_s)

    def _delays(self) -> Iterator[float]:
        self.rounds += 1
        return (0.001 * number for number in count(1))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.supervisor.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self.part.stop()


@pytest.fixture
async def watched(reaper: Reaper) -> Watched:
    part = Part(ShellProgram(FOREVER, name="worker"), reaper)
    await part.start()
    return Watched(part)


async def test_a_killed_part_is_started_again_and_said_so(watched: Watched) -> None:
    async with watched.watching():
        first = watched.part.pid
        watched.part.kill()
        await eventually(lambda: watched.announced[-1:] == ["worker runs again"])
        assert watched.announced[0] == "worker was ended by SIGKILL; starting it again in 0.0 s"
        assert watched.part.pid != first


async def test_a_part_that_keeps_dying_waits_longer_each_time(watched: Watched) -> None:
    async with watched.watching():
        for death in range(1, 4):
            watched.part.kill()
            await eventually(lambda death=death: len(watched.announced) == 2 * death)  # type: ignore[misc]
        assert watched.rounds == 1


async def test_a_part_that_was_well_for_long_begins_with_the_shortest_delay(watched: Watched) -> None:
    async with watched.watching():
        watched.part.kill()
        await eventually(lambda: len(watched.announced) == 2)
        await asyncio.gather(*(eventually(lambda: watched.part.running) for _ in range(2)))
        watched.now_s += 3600
        watched.part.kill()
        await eventually(lambda: len(watched.announced) == 4)
        assert watched.rounds == 2


async def test_a_part_that_was_stopped_is_left_alone(watched: Watched) -> None:
    async with watched.watching():
        await watched.part.stop()
        await soon(watched.part.wait())
        assert not watched.part.running
        await watched.part.start()
        watched.part.kill()
        await eventually(lambda: watched.announced[-1:] == ["worker runs again"])
        assert len(watched.announced) == 2


async def test_a_restart_by_hand_is_no_death(watched: Watched) -> None:
    async with watched.watching():
        await watched.part.restart()
        pid = watched.part.pid
        watched.part.kill()
        await eventually(lambda: len(watched.announced) == 2)
        assert watched.part.pid != pid


async def test_a_part_that_cannot_start_is_tried_until_it_can(reaper: Reaper, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.touch()
    program = ShellProgram(FOREVER, name="worker", ready_when=ready)
    part = Part(program, reaper)
    await part.start()
    watched = Watched(part)
    async with watched.watching():
        ready.unlink()
        program.script = "exit 1"
        part.kill()
        await eventually(lambda: "worker ended while it started; trying again until it can" in watched.announced)
        program.script = f"touch {ready}; {FOREVER}"
        await eventually(lambda: watched.announced[-1:] == ["worker runs again"])


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (StackError("no room"), "no room"),
        (
            OSError(28, "No space left on device", "/data/x"),
            "worker cannot be started: No space left on device: /data/x",
        ),
        (asyncpg.InterfaceError("odd"), "worker cannot be started: InterfaceError: odd"),
        (KeyError("x"), "worker cannot be started: KeyError: 'x'"),
    ],
    ids=["StackError", "OSError", "driver", "bug"],
)
async def test_a_start_that_fails_for_whatever_reason_is_told_once_and_tried_until_it_succeeds(
    watched: Watched, refusal: Exception, told: str
) -> None:
    async with watched.watching():
        program = watched.part.program
        assert isinstance(program, ShellProgram)
        program.refusal = refusal
        watched.part.kill()
        await eventually(lambda: program.times_refused >= 3)
        assert watched.announced[1:] == [f"{told}; trying again until it can"]
        program.refusal = None
        await eventually(lambda: watched.announced[-1:] == ["worker runs again"])


async def test_a_part_that_cannot_be_started_leaves_the_others_watched(watched: Watched, reaper: Reaper) -> None:
    other = Part(ShellProgram(FOREVER, name="sink"), reaper)
    await other.start()
    announced: list[str] = []
    supervisor = Supervisor([watched.part, other], announced.append, delays=lambda: repeat(0.001))
    task = asyncio.create_task(supervisor.run())
    program = watched.part.program
    assert isinstance(program, ShellProgram)
    program.refusal = OSError(28, "No space left on device")
    watched.part.kill()
    await eventually(lambda: program.times_refused >= 2)
    other.kill()
    await eventually(lambda: "sink runs again" in announced)
    task.cancel()
    await asyncio.wait([task])
    await other.stop()


async def test_last_words_that_differ_by_their_time_only_are_told_once(watched: Watched) -> None:
    async with watched.watching():
        program = watched.part.program
        assert isinstance(program, ShellProgram)
        refusals = (StackError(f"12:00:0{number} no room") for number in count())
        program.refusal = next(refusals)
        watched.part.kill()
        for tries in range(1, 4):
            await eventually(lambda tries=tries: program.times_refused >= tries)  # type: ignore[misc]
            program.refusal = next(refusals)
        assert len(watched.announced) == 2


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "ended"), (3, "failed with exit status 3"), (-9, "was ended by SIGKILL"), (-40, "was ended by signal 40")],
)
def test_an_exit_status_is_told_in_words(status: int, words: str) -> None:
    assert describe(status) == words


async def test_a_part_that_is_stopped_and_started_is_no_failure(watched: Watched) -> None:
    prepare = watched.part.program.prepare
    time_is_up = asyncio.Event()

    async def prepare_in_a_while() -> Launch:
        await time_is_up.wait()
        return await prepare()

    watched.part.program.prepare = prepare_in_a_while  # type: ignore[method-assign]
    async with watched.watching():
        await watched.part.stop()
        # Time enough for whoever watches to see the old process gone, and a new one not yet there.
        asyncio.get_running_loop().call_later(0.1, time_is_up.set)
        await watched.part.start()
        assert watched.part.running
        assert watched.announced == []
