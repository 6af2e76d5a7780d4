"""Where the real services of the tests come from, by one setting: PENSTOCK_TEST_SERVICES.

    embedded         (default) our own embedded stack
    testcontainers   containers, where a Docker engine answers
    env              those that PENSTOCK_KAFKA_BOOTSTRAP_SERVERS, PENSTOCK_POSTGRES_DSN and PENSTOCK_REDIS_URL name

A service that is not to be had skips the tests that need it on a laptop, and fails them in CI.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from anyio.from_thread import start_blocking_portal

from penstock.embedded.elsewhere import Elsewhere, Service
from penstock.embedded.kafka_properties import server_properties
from penstock.embedded.ports import choose
from penstock.embedded.stack import EmbeddedStack
from penstock.errors import StackError
from tests.waiting import eventually_sync

KAFKA_IMAGE = "apache/kafka:4.1.1"
POSTGRES_IMAGE = "postgres:18"
REDIS_IMAGE = "redis:8"

Opened = AbstractContextManager[str]


@dataclass(frozen=True)
class ServiceSource:
    """Each opens one service, yields its address, and closes it."""

    kafka: Callable[[], Opened]
    postgres: Callable[[], Opened]
    redis: Callable[[], Opened]


def service_source() -> ServiceSource:
    name = os.environ.get("PENSTOCK_TEST_SERVICES") or "embedded"
    if name not in SOURCES:
        pytest.exit(f"PENSTOCK_TEST_SERVICES is {name}; it may be {', '.join(SOURCES)}", returncode=2)
    return SOURCES[name]


def unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def embedded(service: Service) -> Iterator[str]:
    """One service alone: a test that needs no Kafka needs no Java either."""
    stack = EmbeddedStack(None, services=frozenset([service]))
    with start_blocking_portal() as portal:
        opened = portal.wrap_async_context_manager(stack)
        try:
            opened.__enter__()
        except StackError as error:
            unavailable(str(error))
        try:
            yield stack.address(service)
        finally:
            opened.__exit__(None, None, None)


@contextmanager
def given(variable: str, address: str | None) -> Iterator[str]:
    if not address:
        unavailable(f"{variable} is not set")
    yield address


def require_docker() -> None:
    docker = shutil.which("docker")
    if docker is None:
        unavailable("there is no docker command")
    asked = subprocess.run([docker, "version"], capture_output=True, text=True, check=False, timeout=30)
    if asked.returncode != 0:
        unavailable(f"no Docker engine answers: {asked.stderr.strip()}")


@contextmanager
def postgres_container() -> Iterator[str]:
    require_docker()
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415

    with PostgresContainer(POSTGRES_IMAGE, driver=None) as container:
        yield container.get_connection_url()


@contextmanager
def redis_container() -> Iterator[str]:
    require_docker()
    from testcontainers.community.redis import RedisContainer  # noqa: PLC0415

    with RedisContainer(REDIS_IMAGE) as container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


@contextmanager
def kafka_container() -> Iterator[str]:
    """Apache's own image. Its port is the same inside and outside, since a broker must know what it is called."""
    require_docker()
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415

    port, controller_port = choose(2)
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    properties = server_properties(Path("/tmp/kafka"), port, controller_port) | {  # noqa: S108 - inside the container
        "listeners": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{container.get_container_host_ip()}:{port}",
    }
    for name, value in properties.items():
        container = container.with_env(f"KAFKA_{name.replace('.', '_').upper()}", value)
    with container:
        address = f"{container.get_container_host_ip()}:{port}"
        eventually_sync(lambda: "Kafka Server started" in container.get_logs()[0].decode(), timeout_s=60)
        yield address


NAMED = Elsewhere.from_environ(os.environ)
SOURCES = {
    "embedded": ServiceSource(
        kafka=lambda: embedded(Service.KAFKA),
        postgres=lambda: embedded(Service.POSTGRES),
        redis=lambda: embedded(Service.VALKEY),
    ),
    "testcontainers": ServiceSource(kafka=kafka_container, postgres=postgres_container, redis=redis_container),
    "env": ServiceSource(
        kafka=lambda: given("PENSTOCK_KAFKA_BOOTSTRAP_SERVERS", NAMED.kafka_bootstrap_servers),
        postgres=lambda: given("PENSTOCK_POSTGRES_DSN", NAMED.postgres_dsn),
        redis=lambda: given("PENSTOCK_REDIS_URL", NAMED.redis_url),
    ),
}
