from collections.abc import AsyncIterator

import httpx
import pytest

from tests.unit.gateway.house import House, opened


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(house) as client:
        yield client
