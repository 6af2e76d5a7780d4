"""Whatever is sent, the answer is the caller's to mend (4xx) or the job is accepted: never a 500."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp

from tests.unit.gateway.house import House

# Path, body, headers, query -> status.
Post = Callable[..., int]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "image", "", "z"]),
        "shape": st.lists(st.sampled_from([-1, 0, 1, 2, 8, 2**31, 2**63, 2**64]), max_size=4),
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES", "BOOL", "", "fp32"]),
    },
    optional={"data": json_values, "parameters": json_values, "extra": json_values},
)
payloads = json_values | st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(tensors, max_size=3) | json_values,
        "instances": json_values,
        "features": json_values,
        "outputs": json_values,
        "id": json_values,
    },
)
envelopes = st.fixed_dictionaries(
    {"model": st.sampled_from(["vector", "digits", "nope"]) | json_values, "input": payloads},
    optional={
        "version": st.sampled_from(["1", "2", "9"]) | json_values,
        "lane": st.sampled_from(["live", "bulk"]) | json_values,
        "timeout_s": json_values,
        "sticky_key": json_values,
        "metadata": json_values,
        "webhook": st.sampled_from(["https://example.com/", "https://\0", "https://[::1", "//"]) | json_values,
        "webhook_events_filter": st.sampled_from([["completed"], ["job.failed", "start"], [[]]]) | json_values,
        "unknown": json_values,
    },
)
headers = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"content-type",
                b"content-encoding",
                b"content-length",
                b"inference-header-content-length",
                b"idempotency-key",
                b"traceparent",
                b"accept",
            ]
        ),
        st.sampled_from([b"application/json", b"application/octet-stream", b"gzip", b"deflate", b"image/png", b"17"])
        | st.binary(max_size=20),
    ),
    max_size=4,
)


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    """One gateway for all that is tried: to build one takes longer than to ask it."""
    app = House().app
    with asyncio.Runner() as runner:
        yield lambda path, body, sent, query=b"": runner.run(status_of(app, path, body, sent, query))


async def status_of(app: ASGIApp, path: str, body: bytes, sent: list[tuple[bytes, bytes]], query: bytes) -> int:
    """The status of the answer."""
    statuses: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif statuses[0] >= 400:
            assert orjson.loads(message["body"])["error"]["code"]

    scope = {"type": "http", "method": "POST", "path": path, "query_string": query, "headers": sent}
    await app(scope, receive, send)
    (status,) = statuses
    return status


def dumps(value: Any) -> bytes:
    return orjson.dumps(value) if _small(value) else repr(value).encode()


def _small(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits
        return False
    return True


@given(envelopes)
def test_any_envelope(post: Post, envelope: Any) -> None:
    assert post("/v1/jobs", dumps(envelope), []) < 500


@given(payloads, st.sampled_from(["vector", "digits"]))
def test_any_payload(post: Post, payload: Any, model: str) -> None:
    assert post(f"/v1/models/{model}/jobs", dumps(payload), []) < 500


@given(st.binary(max_size=300), headers, st.binary(max_size=60))
def test_any_bytes(post: Post, body: bytes, sent: list[tuple[bytes, bytes]], query: bytes) -> None:
    for path in ("/v1/jobs", "/v1/models/digits/jobs", "/v1/models/vector/versions/1/jobs"):
        assert post(path, body, sent, query) < 500


@given(st.binary(max_size=64), st.integers(0, 400))
def test_any_tail_of_raw_tensors(post: Post, tail: bytes, size: int) -> None:
    described = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    head = orjson.dumps({"inputs": [described]})
    sent = [(b"inference-header-content-length", b"%d" % len(head))]
    assert post("/v1/models/vector/jobs", head + tail, sent) < 500
