"""Starting, stopping and killing one process."""

import asyncio
import threading
from pathlib import Path
from signal import SIGKILL, SIGTERM, SIGUSR1

import psutil
import pytest

from penstock.child import Account, Child, Launch
from penstock.errors import StackError
from penstock.part import Part
from penstock.reaper import Reaper
from tests.integration.embedded.shell_program import ShellProgram
from tests.waiting import eventually

FOREVER = "exec sleep 600"


async def test_start_returns_when_the_program_answers(reaper: Reaper, tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    part = Part(ShellProgram(f"touch {answer}; {FOREVER}", ready_when=answer), reaper)
    await part.start()
    assert answer.exists()
    assert part.running
    await part.stop()
    assert not part.running


async def test_a_program_that_ends_too_early_is_told_with_its_last_words(reaper: Reaper, tmp_path: Path) -> None:
    program = ShellProgram("echo out of luck; exit 1", ready_when=tmp_path / "never")
    part = Part(program, reaper)
    with pytest.raises(StackError, match="program ended while it started"):
        await part.start()
    await eventually(lambda: program.lines == ["out of luck"])
    assert part.program.explain() == "out of luck"


async def test_a_program_that_never_answers_is_ended(reaper: Reaper, tmp_path: Path) -> None:
    part = Part(ShellProgram(FOREVER, ready_when=tmp_path / "never", start_timeout_s=0.1), reaper)
    with pytest.raises(StackError, match="program did not answer within 0 s"):
        await part.start()
    assert not part.running


async def test_a_start_that_is_canceled_leaves_no_process(reaper: Reaper, tmp_path: Path) -> None:
    part = Part(ShellProgram(FOREVER, ready_when=tmp_path / "never"), reaper)
    starting = asyncio.create_task(part.start())
    pid = await eventually(lambda: part.pid if part.running else 0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not psutil.pid_exists(pid)


async def test_a_program_that_does_not_exist_is_told_in_one_line(reaper: Reaper, tmp_path: Path) -> None:
    child = Child("x", Launch(("/no/program",), {}, cwd=tmp_path / "nowhere"), reaper)
    with pytest.raises(StackError, match="cannot run /no/program: No such file or directory"):
        child.start()


async def test_whom_it_was_to_run_as_is_told_too(reaper: Reaper, tmp_path: Path) -> None:
    nobody = Account("nobody", 65534, 65534)
    child = Child("x", Launch(("/bin/true",), {}, cwd=tmp_path / "nowhere", account=nobody), reaper)
    with pytest.raises(StackError, match="cannot run /bin/true as user nobody: "):
        child.start()


async def test_a_program_is_stopped_by_the_signal_it_wants(reaper: Reaper, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap 'echo told; exit 0' USR1; touch {ready}; while :; do sleep 0.05; done"
    # Not SIGINT: a shell cannot trap what it was started to ignore, as whatever runs in the background is.
    program = ShellProgram(script, ready_when=ready, stop_signal=SIGUSR1)
    part = Part(program, reaper)
    await part.start()
    await part.stop()
    assert await part.wait() == 0
    assert program.times_ended == 1
    await eventually(lambda: program.lines == ["told"])


async def test_a_stubborn_program_is_killed_with_all_it_started(reaper: Reaper, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap '' TERM; sleep 600 & touch {ready}; wait; while :; do sleep 0.05; done"
    part = Part(ShellProgram(script, ready_when=ready, stop_grace_s=0.1), reaper)
    await part.start()
    children = [child.pid for child in psutil.Process(part.pid).children()]
    await part.stop()
    assert await part.wait() == -SIGKILL
    assert children
    await eventually(lambda: not any(map(psutil.pid_exists, children)))


async def test_stopping_twice_and_starting_twice_do_no_harm(reaper: Reaper) -> None:
    part = Part(ShellProgram(FOREVER), reaper)
    await part.stop()
    await part.start()
    pid = part.pid
    await part.start()
    assert part.pid == pid
    await part.stop()
    await part.stop()


async def test_a_restart_is_another_process(reaper: Reaper) -> None:
    part = Part(ShellProgram(FOREVER), reaper)
    await part.start()
    pid = part.pid
    await part.restart()
    assert part.pid != pid
    assert not psutil.pid_exists(pid)
    await part.stop()


async def test_kill_and_terminate_are_seen_as_what_they_are(reaper: Reaper) -> None:
    part = Part(ShellProgram(FOREVER), reaper)
    await part.start()
    part.kill()
    assert await part.wait() == -SIGKILL
    await part.start()
    part.terminate()
    assert await part.wait() == -SIGTERM


async def test_another_event_loop_may_wait_too(reaper: Reaper) -> None:
    """Fixtures of a session live in another loop than the tests that restart a service."""
    part = Part(ShellProgram(FOREVER), reaper)
    await part.start()
    statuses: list[int] = []
    elsewhere = threading.Thread(target=lambda: statuses.append(asyncio.run(part.wait())))
    elsewhere.start()
    await part.stop()
    await asyncio.to_thread(elsewhere.join)
    assert statuses == [-SIGTERM]


async def test_output_is_read_to_the_end(reaper: Reaper) -> None:
    program = ShellProgram("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")
    part = Part(program, reaper)
    await part.start()
    assert await part.wait() == 0
    await eventually(lambda: program.lines[-1:] == ["line 1999"])
    assert len(program.lines) == 2000
