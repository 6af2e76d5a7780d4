"""A stack to be broken."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from penstock.stack import Stack
from tests.acceptance.chaos.wholeness import is_whole
from tests.acceptance.client import client_of
from tests.acceptance.opening import heard, opened
from tests.services import SOURCES, service_source
from tests.waiting import eventually


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def fragile_stack(models: Path, environ: dict[str, str]) -> AsyncIterator[Stack]:
    """Two workers, two gateways, and services of its own: one for all tests that break something."""
    if service_source() is not SOURCES["embedded"]:
        pytest.skip("only services of our own may be broken")
    # A worker that was killed is missed after seconds, not after half a minute: the broker allows no less.
    quick = environ | {"PENSTOCK_KAFKA_SESSION_TIMEOUT_S": "6"}
    whole = heard(models=models, workers=2, gateways=2, environ=quick)
    async with opened(whole):
        yield whole


@pytest_asyncio.fixture(loop_scope="session")
async def fragile(fragile_stack: Stack) -> Stack:
    """The same, whole again after whatever the test before did to it."""
    await eventually(lambda: is_whole(fragile_stack), 60, "the stack is whole")
    return fragile_stack


@pytest_asyncio.fixture(loop_scope="session")
async def fragile_http(fragile: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(fragile.gateway_url, timeout_s=30) as client:
        yield client
