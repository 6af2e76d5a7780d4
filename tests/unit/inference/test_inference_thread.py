"""The one thread in which models are loaded and run."""

import asyncio
import subprocess
import sys
import threading

import pytest

from tests.waiting import eventually
from workers.inference.engine.inference_thread import LEFT_RUNNING_STATUS, InferenceThread
from workers.inference.execution.failures import DeviceFailed


async def test_work_is_done_in_order_in_one_thread() -> None:
    async with InferenceThread() as thread:
        names = await asyncio.gather(*(thread.submit(lambda: threading.current_thread().name) for _ in range(3)))
    assert names == ["inference"] * 3


async def test_what_work_raises_is_told() -> None:
    async with InferenceThread() as thread:
        with pytest.raises(ZeroDivisionError):
            await thread.submit(lambda: 1 / 0)
        assert await thread.submit(lambda: "still here") == "still here"


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), asyncio.CancelledError()])
async def test_what_asyncio_would_take_for_itself_is_told_as_a_plain_error(error: BaseException) -> None:
    def work() -> None:
        raise error

    async with InferenceThread() as thread:
        with pytest.raises(RuntimeError, match=type(error).__name__) as caught:
            await thread.submit(work)
    assert caught.value.__cause__ is error


async def test_nothing_is_done_once_the_device_has_failed_whoever_found_that_out() -> None:
    def check() -> None:
        raise DeviceFailed("digits/1 answers wrongly")

    done: list[str] = []
    async with InferenceThread() as thread:
        checking, running = thread.submit(check), thread.submit(lambda: done.append("a slice"))
        for each in (checking, running):
            with pytest.raises(DeviceFailed, match="digits/1 answers wrongly"):
                await each
    assert done == []


async def test_a_caller_that_is_canceled_leaves_the_work_to_itself() -> None:
    async with InferenceThread() as thread:
        may_end = threading.Event()
        waiting = asyncio.ensure_future(thread.submit(may_end.wait))
        waiting.cancel()
        assert thread.busy
        may_end.set()
        await eventually(lambda: not thread.busy)
        assert await thread.submit(lambda: "next") == "next"


async def test_nothing_is_left_of_a_thread_that_was_idle() -> None:
    async with InferenceThread() as thread:
        await thread.submit(lambda: None)
        assert "inference" in [each.name for each in threading.enumerate()]
    assert "inference" not in [each.name for each in threading.enumerate()]


STUCK = """
import asyncio, sys, threading
from runtime.process import StoppedEarly
from schemas.errors import ConfigurationError, QueueUnavailable
from workers.inference.engine.inference_thread import InferenceThread
from workers.inference.execution.failures import DeviceFailed

async def main():
    async with InferenceThread() as thread:
        running = threading.Event()
        thread.submit(lambda: (running.set(), threading.Event().wait()), **eval(sys.argv[1]))
        await asyncio.to_thread(running.wait)
        print("left", flush=True)
        if len(sys.argv) > 2:
            raise eval(sys.argv[2])("at the same time")

try:
    asyncio.run(main())
except StoppedEarly:
    pass
"""


@pytest.mark.parametrize(("how", "status"), [({}, LEFT_RUNNING_STATUS), ({"status_if_left": 0}, 0)])
def test_a_process_does_not_wait_for_a_model_that_never_returns(how: dict[str, int], status: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STUCK, repr(how)], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stdout.startswith("left")
    assert ended.returncode == status


@pytest.mark.parametrize(
    ("error", "status"),
    [("QueueUnavailable", 1), ("TypeError", 1), ("ConfigurationError", 2), ("DeviceFailed", 3), ("StoppedEarly", 0)],
)
def test_a_process_that_fails_tells_so_by_its_status_whatever_it_leaves_running(error: str, status: int) -> None:
    how = repr({"status_if_left": 0})
    ended = subprocess.run(
        [sys.executable, "-c", STUCK, how, error], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stdout.startswith("left")
    assert ended.returncode == status
