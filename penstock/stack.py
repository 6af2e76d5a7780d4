"""The whole stack: the services and, on them, every role, watched."""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from penstock.embedded.elsewhere import Elsewhere
from penstock.embedded.kafka import NO_PROPERTIES
from penstock.embedded.ports import LOOPBACK, is_free
from penstock.embedded.stack import EmbeddedStack, say_nothing, start_all, stop_all
from penstock.errors import StackError, in_a_line
from penstock.http_probe import models_of
from penstock.migrate_settings import MigrateSettings
from penstock.part import POLL_INTERVAL_S, Part
from penstock.preparing import prepare, told_with_address
from penstock.reaper import Reaper
from penstock.role import Role, url_of
from penstock.role_environment import group_instance_id, role_environment, shared_environment
from penstock.running import Running, publish, published
from penstock.served import served_models
from penstock.supervisor import Supervisor, restart_delays_s
from runtime.clock import now_utc
from runtime.settings import settings_in
from schemas.errors import PenstockError

# How long the gateways may take to hear of what the workers serve.
ANNOUNCED_WITHIN_S = 5.0
CONTROLLER = "rollout-controller"
NOTIFIER = "notifier"
FEEDER = "feeder"
# Roles that nobody waits for, and how long after all others each starts: it would take the processor from first jobs.
AFTER_S = {FEEDER: 0.5, NOTIFIER: 1.0, CONTROLLER: 5.0}
# Without which it is left out.
NEEDS = {FEEDER: "obstore", NOTIFIER: "aiodns", CONTROLLER: "faust"}


def hear_nothing(_: str, __: str) -> None:
    """For those who do not read logs."""


class Stack:
    """Ready to take jobs while the block lasts; what dies meanwhile is started again.

    `async with Stack(None, models=...) as stack` leaves nothing behind; with a path, a second stack over it finds the
    jobs of the first. Raises `StackError` if something stands in the way.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        models: Path,
        port: int = 0,
        workers: int = 1,
        gateways: int = 1,
        rollouts: bool = False,
        notifiers: int = 0,
        feeders: int = 0,
        kafka_properties: Mapping[str, str] = NO_PROPERTIES,
        environ: Mapping[str, str] | None = None,
        announce: Callable[[str], None] = say_nothing,
        on_line: Callable[[str, str], None] = hear_nothing,
    ) -> None:
        """`port`: the gateway's, 0 for a free one. `workers`: processes, each serving all models.

        `gateways`: processes. Several share `port`, and each has one of its own beside it. `rollouts`,
        `notifiers` and `feeders`: soon after all is ready, start a controller of rollouts, and so many notifiers and
        feeders, where what they need is installed.

        `environ` is what the roles see beside what we tell them; an address of a service in it means that this service
        is not started. `announce` hears one line about whatever is unusual, `on_line` each line of each role's log.
        """
        self._environ = dict(os.environ if environ is None else environ)
        self._elsewhere = Elsewhere.from_environ(self._environ)
        self.services = EmbeddedStack(
            path,
            elsewhere=self._elsewhere,
            kafka_properties=kafka_properties,
            environ=self._environ,
            announce=announce,
            avoid_ports=[port],
        )
        self._host = self._environ.get("PENSTOCK_GATEWAY_HOST") or LOOPBACK
        self._models = models
        self._port = port
        self._workers = workers
        self._gateways = gateways
        # Roles that are still to be started when all is ready.
        counts = {FEEDER: feeders, NOTIFIER: notifiers, CONTROLLER: int(rollouts)}
        later = {name: command for command, count in counts.items() for name in numbered(command, count)}
        self._later = {name: command for name, command in later.items() if find_spec(NEEDS[command]) is not None}
        self._gateway_ports: dict[str, int] = {}
        self._health: dict[str, str] = {}
        self._announce = announce
        self._on_line = on_line
        self._open = AsyncExitStack()
        self._roles: dict[str, Part] = {}
        self._supervising: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        host = self._host
        if self._port and not is_free(self._port, host):
            raise StackError(f"port {self._port} is in use: choose another with --port")
        if self._models.exists() and not self._models.is_dir():
            raise StackError(f"{self._models} is no folder of models: name one with --models")
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(self.services)
            self._port = self._port or self.services.data_dir.free_port(host)
            env = role_environment(
                self._environ,
                self.services,
                models=self._models,
                gateway_host=host,
                gateway_port=self._port,
                public_url=self.gateway_url,
            )
            await self._prepare(env)
            self._assemble(env, self.services.reaper)
            opening.enter_context(published(self._running(env)))
            opening.push_async_callback(self._stop_roles)
            await start_all(list(self.roles.values()))
            await self._until_announced()
            supervisor = Supervisor([*self.services.parts, *self._roles.values()], self._announce)
            self._supervising = asyncio.create_task(supervisor.run(), name="supervisor")
            opening.push_async_callback(end_task, self._supervising)
            for name in self._later:
                opening.push_async_callback(end_task, asyncio.create_task(self._start_later(name, env), name=name))
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def watch(self) -> None:
        """Return never: what dies is started again. Raises what the supervisor failed with, if it ever does."""
        if self._supervising is None:
            raise RuntimeError("the stack is not open")
        await asyncio.shield(self._supervising)

    async def _prepare(self, env: Mapping[str, str]) -> None:
        try:
            await prepare(settings_in(MigrateSettings, env), say_nothing, self._announce)
        except PenstockError as error:
            raise StackError(f"tables and topics cannot be made ready: {told_with_address(error)}") from error

    async def _start_later(self, name: str, env: Mapping[str, str]) -> None:
        await asyncio.sleep(AFTER_S[self._later[name]])
        for delay_s in restart_delays_s():
            try:
                await self._roles[name].start()
                break
            except StackError as error:
                self._announce(f"{in_a_line(error)}; trying again until it can")
            await asyncio.sleep(delay_s)
        del self._later[name]
        publish(self._running(env))

    def _assemble(self, env: Mapping[str, str], reaper: Reaper) -> None:
        workers = dict.fromkeys(numbered("worker", self._workers), "worker")
        commands = {"router": "router", **workers, "sink": "sink", **self._later}
        more_gateways = [f"gateway-{number + 1}" for number in range(1, self._gateways)]
        gateways = ["gateway", *more_gateways] if more_gateways else []
        names = [*(f"{name} health" for name in commands), *gateways]
        ports, _ = self.services.data_dir.ports(names, [self._port], self._host)
        self._gateway_ports = {name: ports[name] for name in gateways} or {"gateway": self._port}
        roles = {name: self._gateway(name, port, env) for name, port in self._gateway_ports.items()}
        for name, command in commands.items():
            port = ports[f"{name} health"]
            own = {
                "PENSTOCK_HEALTH_HOST": LOOPBACK,
                "PENSTOCK_HEALTH_PORT": str(port),
                "PENSTOCK_KAFKA_GROUP_INSTANCE_ID": group_instance_id(self.services.data_dir.path, name),
            }
            roles[name] = Role(command, name=name, health_port=port, env={**env, **own}, on_line=self._on_line)
        self._health = {name: role.health_url for name, role in roles.items()}
        self._roles = {name: Part(role, reaper) for name, role in roles.items()}

    def _running(self, env: Mapping[str, str]) -> Running:
        """What other commands on this machine may know of us."""
        data_dir = self.services.data_dir
        return Running(
            pid=os.getpid(),
            started_at=now_utc(),
            data_dir=str(data_dir.path),
            logs=str(data_dir.directory("logs")),
            gateway_url=self.gateway_url,
            health=self.health_urls,
            environ=shared_environment(env, self.gateway_url),
        )

    def _gateway(self, name: str, port: int, env: Mapping[str, str]) -> Role:
        """It answers for its health on its own port."""
        own = {"PENSTOCK_GATEWAY_PORT": str(port)}
        if port != self._port:
            own["PENSTOCK_GATEWAY_SHARED_PORT"] = str(self._port)
        host = reachable(self._host)
        return Role("gateway", name=name, host=host, health_port=port, env={**env, **own}, on_line=self._on_line)

    async def _until_announced(self) -> None:
        """A worker that is ready has announced what it serves; return when the gateways have heard of it."""
        expected = {name.partition("/")[0] for name in (await served_models(self.health_urls)).served}
        with suppress(TimeoutError):
            async with asyncio.timeout(ANNOUNCED_WITHIN_S):
                for port in self._gateway_ports.values():
                    await self._until_heard(expected, port)

    async def _until_heard(self, expected: set[str], port: int) -> None:
        while True:
            if expected <= await models_of(reachable(self._host), port):
                return
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _stop_roles(self) -> None:
        """The gateways first: those who wait at them still get what is being computed."""
        await stop_all([part for name, part in self._roles.items() if name in self._gateway_ports])
        await stop_all([part for name, part in self._roles.items() if name not in self._gateway_ports])

    def kill(self) -> None:
        """SIGKILL to everything that runs: for whoever cannot wait for an orderly end."""
        for part in (*self._roles.values(), *self.services.parts):
            if part.running:
                part.kill()

    @property
    def roles(self) -> Mapping[str, Part]:
        """Those that were started."""
        return {name: part for name, part in self._roles.items() if name not in self._later}

    def role(self, name: str) -> Part:
        """`gateway`, `gateway-2`, ..., `router`, `sink`, and `worker`, or `worker-1`, ... where there are several; once
        they were started `feeder`, `notifier`, or `notifier-1`, ..., and `rollout-controller`."""
        return self.roles[name]

    @property
    def gateway_url(self) -> str:
        """The one that is told to clients: of the gateway, or of all of them together."""
        return self._url(self._port)

    @property
    def health_urls(self) -> dict[str, str]:
        """Where each role tells of its health, by its name; its metrics are there, too."""
        return {name: url for name, url in self._health.items() if name not in self._later}

    @property
    def gateway_urls(self) -> list[str]:
        """Each gateway's own."""
        return [self._url(port) for port in self._gateway_ports.values()]

    def _url(self, port: int) -> str:
        return url_of(reachable(self._host), port)

    @property
    def kafka(self) -> Part:
        return self.services.kafka

    @property
    def postgres(self) -> Part:
        return self.services.postgres

    @property
    def valkey(self) -> Part:
        return self.services.valkey

    @property
    def kafka_bootstrap_servers(self) -> str:
        return self.services.kafka_bootstrap_servers

    @property
    def postgres_dsn(self) -> str:
        return self.services.postgres_dsn

    @property
    def redis_url(self) -> str:
        return self.services.redis_url


def numbered(role: str, processes: int) -> list[str]:
    """What the processes of a role are called."""
    return [role] if processes == 1 else [f"{role}-{number + 1}" for number in range(processes)]


def reachable(host: str) -> str:
    """Where we reach a server that listens on `host`."""
    return {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 - recognized, not bound


async def end_task(task: asyncio.Task[None]) -> None:
    """What it may have failed with is told by whoever watches it, not again at the end."""
    task.cancel()
    await asyncio.wait([task])
