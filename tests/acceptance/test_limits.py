"""Sizes are counted while reading, and a lane that is full says when to come back."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance import digits, jobs
from tests.acceptance.client import client_of
from tests.acceptance.extra_roles import extra_role
from tests.waiting import eventually

MiB = 1024 * 1024
DEPTH = 10


async def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(stack: Stack) -> None:
    # Given a client that announces a gigabyte and waits for a word
    where = urlsplit(stack.gateway_url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1073741824\r\nExpect: 100-continue\r\n\r\n"
        )
        # Then it need not send it
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_grows_too_large_is_refused_while_it_is_read(http: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * MiB

    answer = await http.post("/v1/jobs", content=endless(), headers={"content-type": "application/json"})
    assert jobs.problem(answer, 413)["code"] == "payload_too_large"


async def test_a_job_whose_result_fits_no_record_fails_and_says_so(http: httpx.AsyncClient) -> None:
    texts = ["x" * (4 * MiB - 100)]
    job = jobs.accepted(await http.post("/v1/models/echo/jobs", json={"instances": texts}))
    ended = await jobs.ended(http, job["id"])
    assert ended["error"]["code"] == "output_invalid"


async def test_a_job_just_below_the_limit_is_taken(http: httpx.AsyncClient) -> None:
    rows = digits.images(1).repeat(10_000, axis=0)  # 2.5 MB of tensor
    job = jobs.accepted(await http.post("/v1/models/digits/jobs", json=digits.request(rows.round())))
    ended = await jobs.succeeded(http, job["id"])
    assert jobs.output(ended, "label")["data"] == digits.labels(rows[:1]) * 10_000


@pytest.fixture
async def narrow(stack: Stack, models: Path, environ: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway that lets few jobs into a lane."""
    own = environ | {"PENSTOCK_GATEWAY_MAX_LANE_DEPTH": str(DEPTH)}
    async with (
        extra_role(stack, "gateway", "narrow", models=models, environ=own) as url,
        client_of(url) as client,
    ):
        yield client


async def test_a_full_lane_says_when_to_come_back(narrow: httpx.AsyncClient, parked: str) -> None:
    # Given a lane that nobody serves, filled by ourselves or by whoever came before
    async def refused() -> httpx.Response | None:
        answer = await narrow.post(f"/v1/models/{parked}/jobs", json={"instances": ["a"]})
        return answer if answer.status_code != 202 else None

    # When one more comes
    answer = await eventually(refused)
    assert answer is not None
    # Then it is refused, with the time and the limit
    assert jobs.problem(answer, 429)["code"] == "lane_full"
    assert int(answer.headers["retry-after"]) >= 1
    assert f"q={DEPTH}" in answer.headers["ratelimit-policy"]
    assert answer.headers["ratelimit"]
    # And other lanes are not
    ended = await narrow.post(
        "/v1/models/digits/jobs", json=digits.request(digits.images(1)), headers={"prefer": "wait=30"}
    )
    assert ended.status_code == 200, ended.text
