"""The services of a stack: real ones, started together, stopped together, and nothing left behind."""

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from penstock.embedded.data_dir import DataDir
from penstock.embedded.elsewhere import ALL_SERVICES, Elsewhere, Service
from penstock.embedded.kafka import NO_PROPERTIES, Kafka
from penstock.embedded.locations import cache_dir, database_account
from penstock.embedded.postgres import Postgres
from penstock.embedded.valkey import Valkey
from penstock.part import Part
from penstock.reaper import Reaper

T = TypeVar("T")


def say_nothing(_: str) -> None:
    """For those who do not watch."""


class EmbeddedStack:
    """Postgres, Valkey and Kafka, ready for clients while the block lasts.

    `async with EmbeddedStack(None) as stack` keeps its data in a directory that is removed in the end;
    `EmbeddedStack(path)` keeps it in `path`. What `elsewhere` names is used and not started. Services are not watched:
    one that is killed stays down until it is started again. Raises `StackError` if one cannot be had.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        services: frozenset[Service] = ALL_SERVICES,
        elsewhere: Elsewhere | None = None,
        kafka_properties: Mapping[str, str] = NO_PROPERTIES,
        kafka_compilers: Sequence[str] | None = None,
        environ: Mapping[str, str] | None = None,
        announce: Callable[[str], None] = say_nothing,
        avoid_ports: Collection[int] = (),
    ) -> None:
        """`services`: those that are wanted. `kafka_properties`: the broker's own, over ours.

        `kafka_compilers`: options of the broker's VM, None for those that fit the length of its life.

        `announce` hears one line about whatever is unusual. `avoid_ports`: somebody else will listen there.
        """
        self._avoid_ports = avoid_ports
        self.elsewhere = elsewhere or Elsewhere()
        self._services = services - self.elsewhere.services
        self._path = path
        self._kafka_properties = kafka_properties
        self._kafka_compilers = kafka_compilers
        self._environ = os.environ if environ is None else environ
        self._announce = announce
        self._open = AsyncExitStack()
        self._postgres: tuple[Postgres, Part] | None = None
        self._valkey: tuple[Valkey, Part] | None = None
        self._kafka: tuple[Kafka, Part] | None = None
        self._reaper: Reaper | None = None
        self._data_dir: DataDir | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            account = database_account(os.getuid()) if Service.POSTGRES in self._services else None
            data_dir = await opening.enter_async_context(DataDir(self._path, searchable=account is not None))
            reaper = opening.enter_context(Reaper(holds=[data_dir.lock_fd]))
            if data_dir.ephemeral:
                reaper.remove_in_the_end(data_dir.path)
            self._data_dir, self._reaper = data_dir, reaper
            self._assemble(data_dir, reaper)
            opening.push_async_callback(stop_all, self.parts)
            await start_all(self.parts)
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def _assemble(self, data_dir: DataDir, reaper: Reaper) -> None:
        cache = cache_dir(os.getuid(), self._environ)
        ports, moves = data_dir.ports(["postgres", "valkey", "kafka", "kafka-controller"], self._avoid_ports)
        for move in moves:
            self._announce(move)
        if Service.POSTGRES in self._services:
            postgres = Postgres(data_dir, ports["postgres"], database_account(os.getuid()), cache)
            self._postgres = postgres, Part(postgres, reaper)
        if Service.VALKEY in self._services:
            valkey = Valkey(data_dir, ports["valkey"])
            self._valkey = valkey, Part(valkey, reaper)
        if Service.KAFKA in self._services:
            kafka = Kafka(
                data_dir=data_dir,
                port=ports["kafka"],
                controller_port=ports["kafka-controller"],
                cache_dir=cache,
                environ=self._environ,
                announce=self._announce,
                properties=self._kafka_properties,
                compilers=self._kafka_compilers,
            )
            self._kafka = kafka, Part(kafka, reaper)

    @property
    def parts(self) -> list[Part]:
        """The services that we run."""
        embedded = (self._kafka, self._postgres, self._valkey)
        return [service[1] for service in embedded if service is not None]

    @property
    def kafka(self) -> Part:
        return ours(self._kafka)[1]

    @property
    def postgres(self) -> Part:
        return ours(self._postgres)[1]

    @property
    def valkey(self) -> Part:
        return ours(self._valkey)[1]

    @property
    def kafka_bootstrap_servers(self) -> str:
        return self.elsewhere.kafka_bootstrap_servers or ours(self._kafka)[0].bootstrap_servers

    @property
    def postgres_dsn(self) -> str:
        return self.elsewhere.postgres_dsn or ours(self._postgres)[0].dsn

    @property
    def redis_url(self) -> str:
        return self.elsewhere.redis_url or ours(self._valkey)[0].url

    def address(self, service: Service) -> str:
        """The bootstrap servers, DSN or URL that a client of the service takes."""
        match service:
            case Service.KAFKA:
                return self.kafka_bootstrap_servers
            case Service.POSTGRES:
                return self.postgres_dsn
            case Service.VALKEY:
                return self.redis_url

    @property
    def reaper(self) -> Reaper:
        """Where whoever runs more processes beside the services registers them."""
        if self._reaper is None:
            raise RuntimeError("the stack is not open")
        return self._reaper

    @property
    def data_dir(self) -> DataDir:
        if self._data_dir is None:
            raise RuntimeError("the stack is not open")
        return self._data_dir


def ours(service: T | None) -> T:
    if service is None:
        raise RuntimeError("this service is not ours to run, or the stack is not open")
    return service


async def start_all(parts: Sequence[Part]) -> None:
    """Start at the same time. The first that fails is raised, and the others are given up."""
    try:
        async with asyncio.TaskGroup() as starting:
            for part in parts:
                starting.create_task(part.start(), name=f"start {part.name}")
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def stop_all(parts: Sequence[Part]) -> None:
    """Stop at the same time, all of them. The first failure is raised once every part is down."""
    outcomes = await asyncio.gather(*(part.stop() for part in parts), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
