"""The frame of every role that serves nothing but its health: settings, logs, signals, health, an exit code."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from functools import partial
from typing import Protocol, TypeVar

from runtime.backoff import delays_s
from runtime.health import NO_PAGES, Check, Page, health_server
from runtime.lifecycle import BackgroundTasks, run_role
from runtime.logs import configure_logs, get_logger
from runtime.metrics import watch_loop_lag
from runtime.settings import HealthSettings, ProcessSettings, load
from schemas.errors import ConfigurationError, Unavailable

log = get_logger(__name__)

T = TypeVar("T")


class Role(Protocol):
    """What runs within the frame."""

    @property
    def checks(self) -> Mapping[str, Check]:
        """What must hold before the role is ready."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then finish what has begun."""


S = TypeVar("S", bound=ProcessSettings)


R = TypeVar("R", bound=Role)


def instance_name() -> str:
    """What people know this process by: its machine and its number there."""
    return f"{socket.gethostname()}-{os.getpid()}"


def run_process(
    name: str,
    settings_type: type[S],
    role: Callable[[S], R],
    pages: Callable[[R], Mapping[str, Page]] = lambda _: NO_PAGES,
) -> None:
    """Be a process of this role until told to stop. Exits with 2 where it is set up wrongly, with 1 where it failed.

    `pages` is what the role tells of itself beside its health, by path.
    """
    settings = load(settings_type)
    configure_logs(settings, name)
    try:
        made = role(settings)
        run_role(partial(serve, settings, made, pages=pages(made)))
    except ConfigurationError as error:
        log.error("cannot start", reason=error.message)
        raise SystemExit(2) from error
    except Unavailable as error:
        log.error("cannot go on", reason=error.message, cause=cause_of(error))
        raise SystemExit(1) from error


async def serve(
    settings: ProcessSettings, role: Role, stop: asyncio.Event, pages: Mapping[str, Page] = NO_PAGES
) -> None:
    """Run `role` with its health server beside it. Raises what the role or a side task failed with."""
    with listening(settings) as listener:
        log.info("health", address="{}:{}".format(*listener.getsockname()[:2]))
        async with BackgroundTasks(stop) as side:
            side.start(_serve_health(role.checks, pages, listener), "health")
            side.start(watch_loop_lag(), "loop lag")
            with suppress(StoppedEarly):
                await role.run(stop)
    log.info("stopped")


def listening(settings: HealthSettings) -> socket.socket:
    """The socket of the health server. Raises `ConfigurationError` where it cannot be had."""
    host, port = settings.health_host, settings.health_port
    try:
        return listen(host, port)
    except OSError as error:
        raise ConfigurationError(f"PENSTOCK_HEALTH_PORT: cannot listen on {host}:{port}: {error.strerror}") from error


def listen(host: str, port: int, backlog: int | None = None, *, shared: bool = False) -> socket.socket:
    """A server's socket; `::` listens for both families, as everywhere else. `shared`: with other processes that say
    the same; the system spreads connections over them. Raises `OSError`, and `ValueError` where it cannot share ports.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    listener = socket.create_server(
        (host, port), family=family, backlog=backlog, dualstack_ipv6=both, reuse_port=shared
    )
    # asyncio does so for the listeners that it makes itself. What is accepted here inherits it; without, the end of an
    # answer may wait 40 ms for a client that delays its acknowledgement of the beginning.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def _serve_health(checks: Mapping[str, Check], pages: Mapping[str, Page], listener: socket.socket) -> None:
    server = health_server(checks, pages)
    try:
        await server.serve(sockets=[listener])
    finally:
        if server.started:
            await server.shutdown()


class StoppedEarly(Exception):
    """The role was told to stop before it was complete."""


async def open_patiently(
    stack: AsyncExitStack, part: Callable[[], AbstractAsyncContextManager[T]], stop: asyncio.Event
) -> T:
    """Enter `part()` on `stack`; while it is unavailable, again with back-off: parts may start in any order.

    Raises `StoppedEarly` when `stop` is set first.
    """
    return await patiently(lambda: stack.enter_async_context(part()), stop)


async def patiently(
    work: Callable[[], Awaitable[T]], stop: asyncio.Event, tell: Callable[[str | None], None] = lambda _: None
) -> T:
    """What `work` gives; while something is unavailable, again with back-off. `tell` hears what is waited for.

    Raises `StoppedEarly` when `stop` is set first.
    """
    delays = delays_s()
    while True:
        try:
            done = await unless_stopped(work(), stop)
        except Unavailable as error:
            delay_s = next(delays)
            tell(error.message)
            log.warning(
                "waiting for a part", reason=error.message, cause=cause_of(error), next_attempt_s=round(delay_s, 2)
            )
        else:
            tell(None)
            return done
        await unless_stopped(asyncio.sleep(delay_s), stop)


def cause_of(error: BaseException) -> str | None:
    """What a driver said, in one line: for logs, never for clients."""
    cause = error.__cause__
    return None if cause is None else f"{type(cause).__name__}: {' '.join(str(cause).split())}"


async def unless_stopped(work: Awaitable[T], stop: asyncio.Event) -> T:
    """What `work` gives. Cancels it and raises `StoppedEarly` when `stop` is set first."""
    doing = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([doing, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise StoppedEarly
        return doing.result()
    finally:
        doing.cancel()
        stopping.cancel()
        await asyncio.gather(doing, stopping, return_exceptions=True)
