"""Nothing outlives its owner for long."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from penstock import reaper_program
from penstock.child import Child, Launch
from penstock.embedded.data_dir import DataDir
from penstock.reaper import Reaper
from tests.waiting import eventually, eventually_sync

# Starts two children over a locked directory, says their pids and the reaper's, and waits to be killed.
OWNER = """
import asyncio, os, sys
from pathlib import Path
from penstock.child import Child, Launch
from penstock.embedded.data_dir import DataDir
from penstock.reaper import Reaper

async def own():
    scratch = Path(sys.argv[1])
    async with DataDir(scratch / "data") as data_dir:
        with Reaper(holds=[data_dir.lock_fd]) as reaper:
            reaper.remove_in_the_end(scratch / "thrown-away")
            scripts = ["exec sleep 600", "sleep 600 & wait"]
            launches = [Launch(("/bin/sh", "-c", script), os.environ, log=scratch / "log") for script in scripts]
            children = [Child("x", launch, reaper) for launch in launches]
            for child in children:
                child.start()
            print(reaper.pid, *(child.pid for child in children), flush=True)
            sys.stdin.read()

asyncio.run(own())
"""


@contextmanager
def owner(scratch: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    command = [sys.executable, "-c", OWNER, str(scratch)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, [int(pid) for pid in process.stdout.readline().split()]
        process.kill()


def test_children_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    (tmp_path / "thrown-away").mkdir()
    with owner(tmp_path) as (process, pids):
        eventually_sync(lambda: len(psutil.Process(pids[2]).children()) == 1, what="the second child has a child")
        grandchildren = [child.pid for child in psutil.Process(pids[2]).children()]
        process.kill()
        process.wait()
    eventually_sync(lambda: not any(map(running, [*pids, *grandchildren])), what="all have ended")
    assert not (tmp_path / "thrown-away").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_everybody_does_not_end_the_reaper(tmp_path: Path, how: signal.Signals) -> None:
    with owner(tmp_path) as (process, pids):
        # It ignores the signal from its first line on; before that it would die of it.
        mask = 1 << (how - 1)
        eventually_sync(lambda: ignored_signals(pids[0]) & mask, what="the reaper has begun")
        os.kill(pids[0], how)
        process.kill()
        process.wait()
    eventually_sync(lambda: not any(map(running, pids)), what="all have ended")


def running(pid: int) -> bool:
    """Whether a process has not ended; whether its parent has taken note is another matter."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ignored_signals(pid: int) -> int:
    if sys.platform != "linux":
        pytest.skip("needs /proc")
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)


async def test_the_directory_stays_locked_until_the_children_have_ended(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, pids):
        process.kill()
        process.wait()
        async with DataDir(tmp_path / "data"):
            assert not any(map(running, pids[1:]))


async def test_a_child_that_ended_is_forgotten(tmp_path: Path) -> None:
    with Reaper() as reaper:
        child = Child("short", Launch(("/bin/sh", "-c", "exit 3"), os.environ, log=tmp_path / "log"), reaper)
        child.start()
        assert await child.wait() == 3
        await eventually(lambda: not running(child.pid))


def test_a_reaper_that_was_killed_is_replaced_by_one_that_knows_as_much(tmp_path: Path) -> None:
    thrown_away = tmp_path / "thrown-away"
    thrown_away.mkdir()
    sleeping = Launch(("/bin/sh", "-c", "exec sleep 600"), os.environ, log=tmp_path / "log")
    with Reaper() as reaper:
        reaper.remove_in_the_end(thrown_away)
        children = [Child(name, sleeping, reaper) for name in ("before", "after")]
        for child in children:
            child.start()
            eventually_sync(lambda pid=child.pid: psutil.Process(pid).name() == "sleep", what="it runs")  # type: ignore[misc]
            os.kill(reaper.pid, signal.SIGKILL)
            eventually_sync(lambda: not running(reaper.pid), what="the reaper has ended")
    eventually_sync(lambda: not any(running(child.pid) for child in children), what="both have ended")
    assert not thrown_away.exists()


def test_who_does_not_end_when_asked_is_killed() -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        reaper_program.end({stubborn.pid: signal.SIGTERM}, grace_s=0.1)
        assert stubborn.wait() == -signal.SIGKILL


def test_a_process_that_only_waits_to_be_counted_is_not_waited_for() -> None:
    with subprocess.Popen(["true"]) as process:
        eventually_sync(lambda: not running(process.pid))
        assert not reaper_program.alive(process.pid)


def test_lines_change_what_is_looked_after() -> None:
    groups: reaper_program.Groups = {}
    directories: list[str] = []
    for line in ("+ 10 SIGTERM 0", "+ 11 SIGINT 1", "- 10", "- 99", "d /data/a b"):
        reaper_program.follow(line, groups, directories)
    assert groups == {11: reaper_program.Group(signal.SIGINT, wave=1)}
    assert directories == ["/data/a b"]


def test_roles_take_their_leave_before_the_services_end(tmp_path: Path) -> None:
    """The role ends a little after it is asked, and the service is still there then."""
    diary = tmp_path / "diary"
    service = f"trap 'echo service >> {diary}; exit' TERM; echo; while :; do sleep 0.02; done"
    role = f"trap 'sleep 0.2; echo role >> {diary}; exit' TERM; echo; while :; do sleep 0.02; done"
    with Reaper() as reaper:
        for wave, script in enumerate((service, role)):
            lines: list[str] = []
            launch = Launch(("/bin/sh", "-c", script), os.environ, on_line=lines.append, wave=wave)
            Child(script, launch, reaper).start()
            eventually_sync(lambda lines=lines: lines)  # type: ignore[misc]
    assert diary.read_text() == "role\nservice\n"
