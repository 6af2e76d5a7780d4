"""docs/http-api.md says what the gateway does: its examples run, its names exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson

from gateway.settings import GatewaySettings
from gateway.submit_request import KNOWN
from runtime.settings import HealthSettings
from schemas.errors import (
    BlobNotFound,
    ConfigurationError,
    PenstockError,
    Refused,
    RequestError,
    Unauthenticated,
    Undecodable,
)
from tests.unit.gateway.house import House, problem

PAGE = (Path(__file__).parents[3] / "docs" / "http-api.md").read_text("utf-8")
# Never met over HTTP today.
ELSEWHERE = {BlobNotFound.code, Unauthenticated.code, Undecodable.code, ConfigurationError.code, Refused.code}


def blocks(language: str) -> Iterator[bytes]:
    for block in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL):
        yield block.encode()


def errors(root: type[PenstockError] = PenstockError) -> Iterator[type[PenstockError]]:
    yield root
    for cls in root.__subclasses__():
        yield from errors(cls)


async def test_its_example_is_accepted(house: House, client: httpx.AsyncClient) -> None:
    (example,) = blocks("json")
    answer = await client.post("/v1/jobs", content=example)
    assert answer.status_code == 202, answer.text
    assert answer.json()["metadata"] == {"order": "17"}


async def test_its_problem_is_the_one_we_write(client: httpx.AsyncClient) -> None:
    (shown,) = blocks("problem")
    row = [[0.0] * 8 for _ in range(7)]
    answer = await client.post("/v1/models/digits/jobs", json={"instances": [row]})
    assert problem(answer, 400, "invalid_input", "instances.shape") == orjson.loads(shown)


def test_every_code_is_on_the_page_with_its_status() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| (`.*?`) \|", PAGE, re.MULTILINE)
    told = {
        (int(status), code)
        for statuses, codes in rows
        for status in statuses.split(",")
        for code in re.findall(r"`(\w+)`", codes)
    }
    for cls in errors():
        if cls.code not in ELSEWHERE:
            assert (cls.status, cls.code) in told, cls
    known = {cls.code for cls in errors()}
    assert {code for _, code in told} <= known
    assert RequestError.code in known


def test_every_option_is_on_the_page() -> None:
    for name in KNOWN:
        assert f"`{name}`" in PAGE


def test_every_setting_on_the_page_exists() -> None:
    known = {*GatewaySettings.model_fields, *HealthSettings.model_fields}
    for name in re.findall(r"PENSTOCK_(\w+)", PAGE):
        assert name.lower() in known


async def test_every_path_on_the_page_exists(client: httpx.AsyncClient) -> None:
    served = {*(await client.get("/openapi.json")).json()["paths"], "/docs", "/openapi.json"}
    for path in re.findall(r"(?:GET|POST) (/[\w/{}]+)", PAGE):
        assert path.replace("{id}", "{job_id}") in served, path
