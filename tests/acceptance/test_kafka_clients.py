"""Producers of other languages, with all that they can do to a batch of records: compress it, or take it back."""

import asyncio
import base64
import json
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import digits, kafka
from tests.acceptance.direct import INSTANCES, LABELS, ROWS, found, id_of_event, labels_of
from tests.acceptance.kcat import kcat_command
from tests.acceptance.test_direct_producers import java_example, said, text_of
from tests.programs import javascript, node_command
from tests.waiting import eventually

CODECS = ("gzip", "snappy", "lz4", "zstd")
# Enough for many blocks of each codec, and few of them alike: 1.2 MB of JSON.
MANY = np.random.default_rng(7).uniform(0, 16, (1000, 8, 8)).astype(np.float32)
MANY_INSTANCES = json.dumps({"instances": MANY.tolist()}).encode()
# The JVM compiles its program first.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def job_id() -> str:
    return f"other-client-{uuid.uuid4().hex}"


async def run(command: list[str], folder: Path, given: bytes) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(given)
    assert process.returncode == 0, errors.decode()
    return output


@pytest.fixture(scope="module")
def many_labels() -> list[str]:
    return [str(label) for label in digits.labels(MANY)]


def message(job_id: str, value: bytes = INSTANCES) -> dict[str, Any]:
    return {"key": None, "value": value.decode(), "headers": {"ce_id": job_id, "model": "digits"}}


async def by_kafkajs(
    stack: Stack,
    topics: Topics,
    folder: Path,
    *messages: dict[str, Any],
    events: list[dict[str, Any]] | None = None,
    codec: str = "none",
    transaction: str | None = None,
) -> None:
    asked = {
        "brokers": stack.kafka_bootstrap_servers,
        "topic": topics.requests,
        "codec": codec,
        "transaction": transaction,
        "messages": messages,
        "events": events or [],
    }
    command = node_command(folder, "produce.mjs", javascript("produce.mjs"))
    await run(command, folder, json.dumps(asked).encode())


@pytest.mark.parametrize("codec", CODECS)
async def test_a_job_may_be_compressed_by_librdkafka(
    http: httpx.AsyncClient, stack: Stack, topics: Topics, job_id: str, codec: str, many_labels: list[str]
) -> None:
    where = ["-P", "-b", stack.kafka_bootstrap_servers, "-t", topics.requests]
    what = ["-z", codec, "-k", "any", "-H", "model=digits", "-H", f"ce_id={job_id}"]
    await run([*kcat_command(), *where, *what], Path.cwd(), MANY_INSTANCES)
    assert labels_of(await found(http, job_id)) == many_labels


@pytest.mark.parametrize("codec", ["gzip", "snappy"])
async def test_a_job_may_be_compressed_by_kafkajs(
    http: httpx.AsyncClient,
    stack: Stack,
    topics: Topics,
    tmp_path: Path,
    job_id: str,
    codec: str,
    many_labels: list[str],
) -> None:
    await by_kafkajs(stack, topics, tmp_path, message(job_id, MANY_INSTANCES), codec=codec)
    assert labels_of(await found(http, job_id)) == many_labels


@pytest.mark.parametrize("codec", CODECS)
async def test_a_job_may_be_compressed_by_java(
    stack: Stack, topics: Topics, tmp_path: Path, codec: str, many_labels: list[str]
) -> None:
    text = text_of("Job.java", topics)
    assert text.count('"lz4"') == 1
    compressing = text.replace('"lz4"', f'"{codec}", "max.request.size", 4194304')  # held against it uncompressed
    output = await said(java_example(tmp_path, compressing), tmp_path, stack, MANY_INSTANCES)
    status, _, value = output.partition(" ")
    assert status == "succeeded"
    assert [row["label"] for row in json.loads(value)["predictions"]] == many_labels


async def test_what_kafkajs_takes_back_is_no_job_and_what_it_commits_is_one(
    http: httpx.AsyncClient, stack: Stack, topics: Topics, tmp_path: Path, job_id: str
) -> None:
    # Given two jobs in one partition
    taken_back, kept = ({**message(f"{job_id}-{end}"), "key": job_id} for end in ("aborted", "committed"))
    await by_kafkajs(stack, topics, tmp_path, taken_back, transaction="abort")
    await by_kafkajs(stack, topics, tmp_path, kept, transaction="commit")
    # When the second has ended
    assert labels_of(await found(http, f"{job_id}-committed")) == LABELS
    # Then the first, which lies before it, has been passed over
    assert (await http.get(f"/v1/jobs/{job_id}-aborted")).status_code == 404


async def test_a_tombstone_of_any_client_is_a_dead_letter_that_says_so(
    stack: Stack, topics: Topics, tmp_path: Path, job_id: str
) -> None:
    def marked(client: str) -> str:
        return f"{job_id}-{client}"

    await by_kafkajs(stack, topics, tmp_path, {**message(marked("kafkajs")), "value": None, "key": marked("kafkajs")})
    where = ["-P", "-Z", "-b", stack.kafka_bootstrap_servers, "-t", topics.requests]
    what = ["-k", marked("kcat"), "-H", "model=digits"]
    await run([*kcat_command(), *where, *what], Path.cwd(), b"\n")
    keys = {marked(client).encode() for client in ("kafkajs", "kcat")}
    with kafka.TopicReader(stack.kafka_bootstrap_servers, topics.dead_letter(topics.requests)) as reader:

        async def buried() -> list[kafka.Heard]:
            mine = [letter for letter in await asyncio.to_thread(reader.read_to_end) if letter.key in keys]
            return mine if len(mine) == len(keys) else []

        letters = await eventually(buried, 30, "both are dead letters")
    assert {letter.headers["__dlq.errors.message"] for letter in letters} == {b"the record has no value"}
    assert {letter.headers["model"] for letter in letters} == {b"digits"}


@pytest.mark.parametrize("mode", ["binary", "structured"])
async def test_events_of_npms_sdk_are_jobs_and_it_reads_how_they_ended(
    http: httpx.AsyncClient, stack: Stack, topics: Topics, tmp_path: Path, job_id: str, mode: str
) -> None:
    attributes = {
        "id": job_id,
        "source": "/elsewhere",
        "type": "io.penstock.job.v1",
        "datacontenttype": "application/json",
        "model": "digits",
        "lane": "bulk",
        "timeouts": 30,
        "partitionkey": "shelf-7",
        "data": {"instances": ROWS.tolist()},
    }
    await by_kafkajs(stack, topics, tmp_path, events=[{"mode": mode, "attributes": attributes}])
    own_id = id_of_event("/elsewhere", job_id)
    job = await found(http, own_id)
    assert labels_of(job) == LABELS

    first, *_ = await kafka.results_of(stack.kafka_bootstrap_servers, topics.results, own_id)
    record = {
        "headers": {name: base64.b64encode(value).decode() for name, value in first.headers.items()},
        "key": base64.b64encode(first.key or b"").decode(),
        "value": base64.b64encode(first.value).decode(),
    }
    command = node_command(tmp_path, "events.mjs", javascript("events.mjs"))
    answer = json.loads(await run(command, tmp_path, json.dumps(record).encode()))
    event = answer["event"]
    assert answer["valid"] is True
    assert (event["id"], event["type"], event["source"]) == (own_id, "io.penstock.result.v1", "/penstock/worker")
    assert (event["specversion"], event["datacontenttype"]) == ("1.0", "application/json")
    assert (event["status"], event["model"], event["modelversion"], event["lane"]) == (
        "succeeded",
        "digits",
        "2",
        "bulk",
    )
    assert datetime.fromisoformat(event["time"]) == datetime.fromisoformat(job["completed_at"])
    assert event["data"] == job["result"]


async def test_pypis_sdk_reads_how_a_job_ended(
    http: httpx.AsyncClient, stack: Stack, topics: Topics, job_id: str
) -> None:
    headers = {"ce_id": job_id, "ce_model": "digits", "ce_metadata": '{"order": 17}'}
    kafka.send(stack.kafka_bootstrap_servers, topics.requests, INSTANCES, headers)
    job = await found(http, job_id)
    first, *_ = await kafka.results_of(stack.kafka_bootstrap_servers, topics.results, job_id)
    event = from_binary(KafkaMessage(dict(first.headers), first.key, first.value), JSONFormat())
    attributes = event.get_attributes()
    assert (event.get_id(), event.get_type(), event.get_source()) == (
        job_id,
        "io.penstock.result.v1",
        "/penstock/worker",
    )
    assert event.get_time() == datetime.fromisoformat(job["completed_at"])
    assert event.get_datacontenttype() == "application/json"
    assert {name: attributes[name] for name in ("status", "model", "modelversion", "lane", "rows")} == {
        "status": "succeeded",
        "model": "digits",
        "modelversion": "2",
        "lane": "live",
        "rows": "2",
    }
    assert event.get_data() == job["result"]


async def test_pypis_sdk_reads_why_a_job_failed(stack: Stack, topics: Topics, job_id: str) -> None:
    headers = {"ce_id": job_id, "ce_model": "digits"}
    kafka.send(stack.kafka_bootstrap_servers, topics.requests, b'{"instances": [7]}', headers)
    first, *_ = await kafka.results_of(stack.kafka_bootstrap_servers, topics.results, job_id)
    event = from_binary(KafkaMessage(dict(first.headers), first.key, first.value), JSONFormat())
    assert (event.get_extension("status"), event.get_source()) == ("failed", "/penstock/router")
    data = event.get_data()
    assert isinstance(data, dict)
    assert data["error"]["code"] == "invalid_input"
