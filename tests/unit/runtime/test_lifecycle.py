"""Side tasks, and the frame that roles run in."""

import asyncio
import signal
import socket
import urllib.request
from collections.abc import Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest

from runtime.health import Check
from runtime.lifecycle import BackgroundTasks, run_role
from runtime.process import StoppedEarly, listening, open_patiently, run_process, serve, unless_stopped
from runtime.settings import HealthSettings, ProcessSettings
from schemas.errors import ConfigurationError, QueueUnavailable
from tests.waiting import eventually, soon


async def fail_with(error: Exception) -> None:
    raise error


async def test_the_first_side_task_that_fails_stops_the_role_and_is_raised() -> None:
    async def role(stop: asyncio.Event) -> None:
        async with BackgroundTasks(stop) as side:
            side.start(fail_with(QueueUnavailable("stuck")), "watch")
            await stop.wait()

    with pytest.raises(QueueUnavailable, match="stuck"):
        await role(asyncio.Event())


async def test_side_tasks_are_cancelled_on_leaving() -> None:
    async with BackgroundTasks(asyncio.Event()) as side:
        task = side.start(asyncio.Event().wait(), "for ever")  # type: ignore[arg-type]
    assert task.cancelled()


async def test_a_side_task_that_ends_by_itself_stops_nothing() -> None:
    stop = asyncio.Event()
    async with BackgroundTasks(stop) as side:
        await side.start(asyncio.sleep(0), "short")
    assert not stop.is_set()


def test_a_signal_stops_the_role_and_its_handlers_return() -> None:
    async def role(stop: asyncio.Event) -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
        await stop.wait()

    run_role(role)


def test_a_second_signal_ends_the_process_at_once() -> None:
    async def role(stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(signal.raise_signal, signal.SIGTERM)
        await stop.wait()
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        await asyncio.Event().wait()

    with pytest.raises(SystemExit) as caught:
        run_role(role)
    assert caught.value.code == 128 + signal.SIGINT


class Part:
    """Is unavailable for its first attempts."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.open = False

    @asynccontextmanager
    async def opened(self) -> Any:
        self.failures -= 1
        if self.failures >= 0:
            raise QueueUnavailable("not there yet")
        self.open = True
        yield self
        self.open = False


async def test_a_part_that_is_not_there_yet_is_waited_for() -> None:
    part = Part(failures=2)
    async with AsyncExitStack() as stack:
        assert await open_patiently(stack, part.opened, asyncio.Event()) is part
        assert part.open
    assert not part.open


async def test_nobody_waits_for_a_part_after_the_stop() -> None:
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        waiting = asyncio.create_task(open_patiently(stack, Part(failures=10**6).opened, stop))
        asyncio.get_running_loop().call_later(0.05, stop.set)
        with pytest.raises(StoppedEarly):
            await waiting


async def test_work_is_done_unless_the_stop_comes_first() -> None:
    stop = asyncio.Event()
    assert await unless_stopped(asyncio.sleep(0, "done"), stop) == "done"

    for_ever = asyncio.ensure_future(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(stop.set)
    with pytest.raises(StoppedEarly):
        await unless_stopped(for_ever, stop)
    assert for_ever.cancelled()


async def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(QueueUnavailable):
        await unless_stopped(fail_with(QueueUnavailable("gone")), asyncio.Event())


class Role:
    """Does as it is told."""

    def __init__(self, settings: ProcessSettings) -> None:
        self.ready = False
        self.error: Exception | None = None
        self.checks: Mapping[str, Check] = {"role": lambda: None if self.ready else "starting"}

    async def run(self, stop: asyncio.Event) -> None:
        if self.error is not None:
            raise self.error
        await stop.wait()


def get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own server
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def test_a_role_serves_its_health_until_it_stops() -> None:
    settings = ProcessSettings(health_host="127.0.0.1", health_port=free_port())
    url = f"http://127.0.0.1:{settings.health_port}"
    role, stop = Role(settings), asyncio.Event()
    serving = asyncio.create_task(serve(settings, role, stop))

    async def answers(path: str, status: int) -> Any:
        try:
            code, body = await asyncio.to_thread(get, url + path)
        except urllib.error.URLError:
            return None
        return body if code == status else None

    assert await eventually(lambda: answers("/livez", 200))
    body = await eventually(lambda: answers("/readyz", 503))
    assert orjson.loads(body) == {"ready": False, "checks": {"role": "starting"}}
    role.ready = True
    assert orjson.loads(await eventually(lambda: answers("/readyz", 200)))["ready"]
    assert b"penstock_event_loop_lag_seconds" in await eventually(lambda: answers("/metrics", 200))
    assert await eventually(lambda: answers("/elsewhere", 404))

    stop.set()
    await soon(serving)
    with pytest.raises(urllib.error.URLError):
        await asyncio.to_thread(get, url + "/livez")


def test_a_port_in_use_is_a_mistake_of_configuration() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"PENSTOCK_HEALTH_PORT.*{port}"):
            listening(HealthSettings(health_host="127.0.0.1", health_port=port))


@pytest.mark.parametrize(("error", "code"), [(ConfigurationError("no such thing"), 2), (QueueUnavailable("gone"), 1)])
def test_the_exit_code_says_whether_a_restart_may_help(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    monkeypatch.setenv("PENSTOCK_HEALTH_HOST", "127.0.0.1")
    monkeypatch.setenv("PENSTOCK_HEALTH_PORT", "0")

    def failing(settings: ProcessSettings) -> Role:
        role = Role(settings)
        role.error = error
        return role

    with pytest.raises(SystemExit) as caught:
        run_process("thing", ProcessSettings, failing)
    assert caught.value.code == code
