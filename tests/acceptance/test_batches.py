"""A batch's whole life on the running stack, by the openai client, unmodified."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import openai
import pytest

from penstock.stack import Stack
from tests.waiting import eventually

ENDPOINT = "/v1/models/digits/jobs"
ROW = [[0.0] * 8 for _ in range(8)]


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{stack.gateway_url}/v1", max_retries=0) as client:
        yield client


def line(number: int, body: Any, endpoint: str = ENDPOINT) -> str:
    return json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": endpoint, "body": body}) + "\n"


def row(number: int) -> Any:
    return [[float((number + place) % 17) for place in range(8)] for _ in range(8)]


async def batch_of(sdk: openai.AsyncOpenAI, lines: Sequence[str], endpoint: str = ENDPOINT, **more: Any) -> Any:
    file = await sdk.files.create(file=("jobs.jsonl", "".join(lines).encode()), purpose="batch")
    fields: dict[str, Any] = {"endpoint": endpoint, "completion_window": "24h"} | more
    return await sdk.batches.create(input_file_id=file.id, **fields)


async def ended(sdk: openai.AsyncOpenAI, batch_id: str) -> Any:
    found: list[Any] = []

    async def is_over() -> bool:
        batch = await sdk.batches.retrieve(batch_id)
        counts = batch.request_counts
        assert counts is not None
        told: Any = counts.model_extra
        assert counts.total == counts.completed + counts.failed + sum(
            told[name] for name in ("expired", "cancelled", "processing")
        )
        found[:] = [batch]
        return batch.status in ("completed", "failed", "expired", "cancelled")

    await eventually(is_over, 60, "the batch has ended")
    return found[0]


async def lines_of(sdk: openai.AsyncOpenAI, file_id: str | None) -> dict[str, Any]:
    if file_id is None:
        return {}
    text = (await sdk.files.content(file_id)).text
    lines = [json.loads(each) for each in text.splitlines()]
    found = {each["custom_id"]: each for each in lines}
    assert len(found) == len(lines), "each line once"
    return found


async def test_a_batch_runs_from_its_upload_to_its_files(sdk: openai.AsyncOpenAI) -> None:
    # Given lines of one row and of several, in each form, and some that the model cannot take
    lines, bad = [], {f"line-{number}" for number in range(0, 2500, 100)}
    for number in range(2500):
        body: Any = {"instances": [row(number)] * (1 + number % 3)}
        if f"line-{number}" in bad:
            body = {"instances": [[1.0, 2.0]]}
        elif number % 7 == 1:
            values = [value for each in row(number) for value in each]
            body = {"inputs": [{"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": values}]}
        lines.append(line(number, body))

    # When they are run as a batch
    batch = await ended(sdk, (await batch_of(sdk, lines, metadata={"order": "17"})).id)

    # Then each has its own answer, or its own error
    assert (batch.status, batch.request_counts.total) == ("completed", 2500)
    assert batch.errors is None
    outputs = await lines_of(sdk, batch.output_file_id)
    errors = await lines_of(sdk, batch.error_file_id)
    assert errors.keys() == bad
    assert outputs.keys() == {f"line-{number}" for number in range(2500)} - bad
    for each in errors.values():
        assert each["response"]["status_code"] == 400
        assert each["response"]["body"]["error"]["code"] == "invalid_input"
    one = outputs["line-2"]
    assert (one["response"]["status_code"], one["error"]) == (200, None)
    assert len(one["response"]["body"]["predictions"]) == 3
    tensors = outputs["line-1"]["response"]["body"]
    assert (tensors["model_name"], tensors["id"]) == ("digits", "line-1")
    assert tensors["outputs"][0]["shape"][0] == 1


async def test_answers_are_those_of_single_jobs(sdk: openai.AsyncOpenAI, stack: Stack) -> None:
    rows = [row(number) for number in range(5)]
    batch = await ended(sdk, (await batch_of(sdk, [line(n, {"instances": [each]}) for n, each in enumerate(rows)])).id)
    outputs = await lines_of(sdk, batch.output_file_id)
    for number, each in enumerate(rows):
        job = await sdk.with_options(default_headers={"Prefer": "wait=20"}).post(
            f"{stack.gateway_url}/v1/models/digits/jobs", body={"instances": [each]}, cast_to=object
        )
        assert outputs[f"line-{number}"]["response"]["body"] == job["result"]  # type: ignore[index]


async def test_lines_may_name_the_model_themselves(sdk: openai.AsyncOpenAI) -> None:
    lines = [
        line(number, {"model": "digits", "input": {"instances": [row(number)]}}, "/v1/jobs") for number in range(3)
    ]
    batch = await ended(sdk, (await batch_of(sdk, lines, "/v1/jobs")).id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 3)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], "empty_file"),
        (["{}\n"], "invalid_json_line"),
        (["no json\n"], "invalid_json_line"),
        ([line(1, {}), line(1, {})], "duplicate_custom_id"),
        ([line(1, {}, "/v1/embeddings")], "invalid_url"),
    ],
)
async def test_an_input_that_is_not_valid_fails_as_a_whole(
    sdk: openai.AsyncOpenAI, lines: list[str], code: str
) -> None:
    batch = await ended(sdk, (await batch_of(sdk, lines)).id)
    assert batch.status == "failed"
    assert [each.code for each in batch.errors.data] == [code]
    assert batch.output_file_id is None


async def test_a_batch_that_is_cancelled_keeps_what_has_ended(sdk: openai.AsyncOpenAI) -> None:
    lines = [line(number, {"instances": [row(number)]}) for number in range(20_000)]
    started = await batch_of(sdk, lines)

    async def begun() -> bool:
        return (await sdk.batches.retrieve(started.id)).status == "in_progress"

    await eventually(begun, 60, "it is in progress")
    await sdk.batches.cancel(started.id)
    batch = await ended(sdk, started.id)
    assert batch.status == "cancelled"
    outputs, errors = await asyncio.gather(lines_of(sdk, batch.output_file_id), lines_of(sdk, batch.error_file_id))
    assert outputs.keys() | errors.keys() == {f"line-{number}" for number in range(20_000)}
    assert not outputs.keys() & errors.keys()
    assert batch.request_counts.completed == len(outputs)
    assert {each["error"]["code"] for each in errors.values()} <= {"batch_cancelled"}
