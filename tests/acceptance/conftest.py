"""The whole of Penstock, as `penstock up` starts it, for tests that look at it from outside."""

import os
import secrets
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance.client import client_of
from tests.acceptance.extra_roles import left_alone
from tests.acceptance.opening import heard, opened
from tests.acceptance.repository import write_parked_repository, write_repository
from tests.acceptance.role_logs import LOGS
from tests.services import SOURCES, service_source

# Of retries: a test waits for all three tiers.
SHORT_DELAYS = {"PENSTOCK_RETRY_DELAYS_S": "0.3,0.5,0.7"}
# To receivers on this machine; what seals their secrets is thrown away with them.
WEBHOOKS = {"PENSTOCK_WEBHOOK_ALLOW_PRIVATE": "true", "PENSTOCK_WEBHOOK_KEYS": f"test:{'A' * 43}="}
HEARD_BEFORE = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """An event loop for what outlives a test."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    """What the roles are told; without addresses of services the stack starts its own."""
    if service_source() is SOURCES["embedded"]:
        return {**os.environ, **SHORT_DELAYS, **WEBHOOKS, "PENSTOCK_TOPIC_PREFIX": "penstock"}
    return {
        **os.environ,
        **SHORT_DELAYS,
        **WEBHOOKS,
        "PENSTOCK_TOPIC_PREFIX": f"acceptance-{secrets.token_hex(6)}",
        "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": request.getfixturevalue("kafka_bootstrap_servers"),
        "PENSTOCK_POSTGRES_DSN": request.getfixturevalue("postgres_dsn"),
        "PENSTOCK_REDIS_URL": request.getfixturevalue("redis_url"),
    }


@pytest.fixture(scope="package")
def stack(portal: BlockingPortal, models: Path, environ: dict[str, str]) -> Iterator[Stack]:
    """One for all tests that do it no harm."""
    whole = heard(models=models, notifiers=1, feeders=1, environ=environ)
    with portal.wrap_async_context_manager(opened(whole)):
        yield whole


@pytest.fixture
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(stack.gateway_url) as client:
        yield client


@pytest.fixture(scope="session")
def topics(environ: dict[str, str]) -> Topics:
    return Topics(environ["PENSTOCK_TOPIC_PREFIX"])


@pytest.fixture(scope="package")
def parked(
    portal: BlockingPortal, stack: Stack, environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A model that was announced by a worker that has gone: its jobs stay queued."""
    repository = write_parked_repository(tmp_path_factory.mktemp("parked"))
    portal.call(left_alone, stack, repository, environ)
    return "parked"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[HEARD_BEFORE] = LOGS.count


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.append(("the roles' logs", LOGS.since(item.stash.get(HEARD_BEFORE, 0))))
    return report
