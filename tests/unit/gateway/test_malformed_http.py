"""What nobody can take is answered with a problem that names the field and the rule, and leaves no trace."""

from collections.abc import AsyncIterator

import httpx
import pytest

from producers.catalog import Catalog
from schemas.versions import CatalogSnapshot
from tests.malformed import INPUTS, REQUESTS, SIGNATURES, Refusal, Sent
from tests.unit.gateway.house import House, entry, opened

WRAPPED = [name for name, (sent, _) in INPUTS.items() if sent.content_type == "application/json"]


@pytest.fixture(scope="module")
def house() -> House:
    """One for all: to build one takes longer than to ask it, and what is refused leaves no trace."""
    catalog = CatalogSnapshot()
    for name, signature in SIGNATURES.items():
        for version in ("1", "2"):
            catalog = catalog.with_entry(entry(name, version, signature))
    return House(catalog=Catalog(catalog))


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(house) as client:
        yield client


def check(answer: httpx.Response, refusal: Refusal) -> None:
    assert answer.status_code == refusal.status, answer.text[:500]
    error = answer.json()["error"]
    assert error["param"] == refusal.param, error
    assert refusal.words in error["message"], error
    assert len(answer.content) < 8000


def headers_of(sent: Sent) -> dict[str, str]:
    length = {} if sent.json_length is None else {"inference-header-content-length": str(sent.json_length)}
    return {"content-type": sent.content_type, **length}


@pytest.mark.parametrize("case", INPUTS)
async def test_an_input_is_refused_at_the_models_own_path(house: House, client: httpx.AsyncClient, case: str) -> None:
    sent, refusal = INPUTS[case]
    check(await client.post(f"/v1/models/{sent.model}/jobs", content=sent.value, headers=headers_of(sent)), refusal)
    assert house.log.topics == {}
    assert (await client.get("/v1/jobs")).json()["data"] == []


@pytest.mark.parametrize("case", WRAPPED)
async def test_an_input_is_refused_in_an_envelope(client: httpx.AsyncClient, case: str) -> None:
    sent, refusal = INPUTS[case]
    body = b'{"model":"%b","input":%b}' % (sent.model.encode(), sent.value)
    answer = await client.post("/v1/jobs", content=body)
    if answer.json()["error"]["code"] == "invalid_request":  # it is no JSON, and so no envelope either
        assert answer.status_code == 400
    else:
        check(answer, refusal)


@pytest.mark.parametrize("case", REQUESTS)
async def test_a_request_is_refused(house: House, client: httpx.AsyncClient, case: str) -> None:
    sent, refusal = REQUESTS[case]
    check(await client.post(sent.path, content=sent.body, headers=dict(sent.headers)), refusal)
    assert house.log.topics == {}
