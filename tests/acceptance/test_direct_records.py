"""Jobs written straight to Kafka by clients that know nothing of us, and results read from the topic."""

import asyncio
import json
import uuid

import httpx
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import digits, kafka
from tests.acceptance.direct import INSTANCES, LABELS, ROWS, found, id_of_event, labels_of
from tests.acceptance.kcat import kcat_command
from tests.waiting import eventually


@pytest.fixture
def job_id() -> str:
    return f"from-outside-{uuid.uuid4().hex}"


async def test_a_bare_json_value_with_a_model_header_is_enough(
    http: httpx.AsyncClient, stack: Stack, topics: Topics
) -> None:
    partition, offset = kafka.send(stack.kafka_bootstrap_servers, topics.requests, INSTANCES, {"model": "digits"})
    # The job takes its id from where the record stands.
    job = await found(http, f"{topics.requests}-{partition}-{offset}")
    assert labels_of(job) == LABELS
    assert (job["model"], job["model_version"]) == ("digits", "2")


async def test_a_model_name_may_stand_beside_the_input(http: httpx.AsyncClient, stack: Stack, topics: Topics) -> None:
    value = json.dumps({"model": "digits", "version": "1", "input": {"instances": ROWS.tolist()}}).encode()
    partition, offset = kafka.send(stack.kafka_bootstrap_servers, topics.requests, value)
    job = await found(http, f"{topics.requests}-{partition}-{offset}")
    assert len(labels_of(job)) == 2
    assert job["model_version"] == "1"


async def test_a_result_comes_on_the_results_topic_under_the_jobs_id(
    http: httpx.AsyncClient, stack: Stack, topics: Topics, job_id: str
) -> None:
    headers = {"ce_id": job_id, "ce_model": "digits", "ce_specversion": "1.0", "content-type": "application/json"}
    kafka.send(stack.kafka_bootstrap_servers, topics.requests, json.dumps(digits.request(ROWS)).encode(), headers)
    first, *_ = await kafka.results_of(stack.kafka_bootstrap_servers, topics.results, job_id)
    assert first.status == "succeeded"
    assert first.headers["ce_type"] == b"io.penstock.result.v1"
    assert (first.headers["ce_model"], first.headers["ce_modelversion"]) == (b"digits", b"2")
    assert first.headers["content-type"] == b"application/json"
    assert [tensor["name"] for tensor in json.loads(first.value)["outputs"]] == ["label", "probabilities"]
    # And it is the result that HTTP shows.
    job = await found(http, job_id)
    assert job["result"] == json.loads(first.value)


async def test_the_same_id_twice_is_one_job(http: httpx.AsyncClient, stack: Stack, topics: Topics, job_id: str) -> None:
    for _ in range(3):
        kafka.send(
            stack.kafka_bootstrap_servers, topics.requests, INSTANCES, {"ce_id": job_id, "model": "digits"}, key=job_id
        )
    assert labels_of(await found(http, job_id)) == LABELS
    page = (await http.get("/v1/jobs", params={"limit": 100})).json()
    assert [job["id"] for job in page["data"]].count(job_id) <= 1
    results = await kafka.results_of(stack.kafka_bootstrap_servers, topics.results, job_id)
    assert {(result.status, result.value) for result in results} == {("succeeded", results[0].value)}


@pytest.mark.parametrize("mode", [to_binary, to_structured], ids=["binary", "structured"])
async def test_the_cloudevents_sdk_is_understood(
    http: httpx.AsyncClient, stack: Stack, topics: Topics, job_id: str, mode: object
) -> None:
    event = CloudEvent(
        attributes={
            "id": job_id,
            "source": "/elsewhere",
            "type": "io.penstock.job.v1",
            "datacontenttype": "application/json",
            "model": "digits",
            "lane": "bulk",
            "partitionkey": "shelf-7",
        },
        data={"instances": ROWS.tolist()},
    )
    assert callable(mode)
    message: KafkaMessage = mode(event, JSONFormat())
    kafka.send(stack.kafka_bootstrap_servers, topics.requests, message.value, message.headers, message.key)
    assert labels_of(await found(http, id_of_event("/elsewhere", job_id))) == LABELS


async def test_an_image_may_be_the_value(http: httpx.AsyncClient, stack: Stack, topics: Topics, job_id: str) -> None:
    picture = (digits.IMAGES / "7.png").read_bytes()
    headers = {"ce_id": job_id, "ce_model": "digits", "content-type": "image/png"}
    kafka.send(stack.kafka_bootstrap_servers, topics.requests, picture, headers)
    assert labels_of(await found(http, job_id)) == ["7"]


@pytest.mark.parametrize(
    ("headers", "value", "code", "words"),
    [
        ({"model": "digits"}, {"instances": [[[1.0]]]}, "invalid_input", "[-1, 8, 8]"),
        ({"model": "digits"}, {"inputs": "none"}, "invalid_input", "array"),
        ({"model": "letters"}, {"instances": [1]}, "model_not_found", "letters"),
        ({"model": "digits", "version": "9"}, {"instances": [1]}, "model_not_found", "it has 1, 2"),
        ({"model": "digits", "lane": "fast"}, {"instances": [1]}, "invalid_request", "lane"),
    ],
    ids=["shape", "form", "model", "version", "lane"],
)
async def test_a_wrong_input_becomes_a_failed_job_that_says_why(
    http: httpx.AsyncClient,
    stack: Stack,
    topics: Topics,
    job_id: str,
    headers: dict[str, str],
    value: object,
    code: str,
    words: str,
) -> None:
    kafka.send(stack.kafka_bootstrap_servers, topics.requests, json.dumps(value).encode(), headers | {"ce_id": job_id})
    first, *_ = await kafka.results_of(stack.kafka_bootstrap_servers, topics.results, job_id)
    assert first.status == "failed"
    assert json.loads(first.value)["error"]["code"] == code
    job = await found(http, job_id)
    assert job["status"] == "failed"
    assert job["error"]["code"] == code
    assert words in job["error"]["message"]


async def test_events_of_one_id_from_two_sources_are_two_jobs_whatever_the_id(
    http: httpx.AsyncClient, stack: Stack, topics: Topics
) -> None:
    event_id = f"partition:1/offset:{uuid.uuid4().hex}"
    for source in ("/shop-a", "/shop-b", "/shop-a"):
        headers = {"ce_specversion": "1.0", "ce_id": event_id, "ce_source": source, "ce_type": "t", "ce_model": "echo"}
        kafka.send(
            stack.kafka_bootstrap_servers, topics.requests, json.dumps({"instances": [source]}).encode(), headers
        )
    for source in ("/shop-a", "/shop-b"):
        job = await found(http, id_of_event(source, event_id))
        assert job["result"] == {"predictions": [source]}


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (None, {"model": "digits"}),
        (b'{"instances": [1]}', {}),
        (b"\xff\xfe\x00", {}),
        (b"{}", {"content-type": "application/cloudevents+json"}),
        (b'{"instances": [1]}', {"model": "digits", "ce_specversion": "9.0"}),
    ],
    ids=["no value", "no model", "no text", "no event", "no version of CloudEvents"],
)
async def test_a_record_that_is_no_job_goes_to_the_dead_letters_at_once(
    stack: Stack, topics: Topics, value: bytes | None, headers: dict[str, str]
) -> None:
    mark = uuid.uuid4().hex
    partition, offset = kafka.send(
        stack.kafka_bootstrap_servers, topics.requests, value, {**headers, "mark": mark}, key=b"its-own-key"
    )
    assert topics.dead_letter(topics.requests) == f"dlq.{topics.prefix}.requests.v1"
    with kafka.TopicReader(stack.kafka_bootstrap_servers, topics.dead_letter(topics.requests)) as reader:

        async def buried() -> list[kafka.Heard]:
            heard = await asyncio.to_thread(reader.read_to_end)
            return [record for record in heard if record.headers.get("mark") == mark.encode()]

        (record,) = await eventually(buried, 30, "the record is in the dead-letter topic")
    assert (record.key, record.value) == (b"its-own-key", value or b"")
    assert record.headers["__dlq.errors.topic"].decode() == topics.requests
    assert record.headers["__dlq.errors.partition"] == str(partition).encode()
    assert record.headers["__dlq.errors.offset"] == str(offset).encode()
    assert record.headers["__dlq.errors.message"]


async def test_kcat_is_a_client(http: httpx.AsyncClient, stack: Stack, topics: Topics, job_id: str) -> None:
    # When a line is written with kcat
    await kcat(
        stack, "-P", "-t", topics.requests, "-H", "model=digits", "-H", f"ce_id={job_id}", "-D", "\n", stdin=INSTANCES
    )
    assert labels_of(await found(http, job_id)) == LABELS
    # Then kcat reads its result too
    read = await kcat(stack, "-C", "-t", topics.results, "-o", "beginning", "-e", "-q", "-f", "%k %s\n")
    mine = f"{job_id} ".encode()
    (result,) = [line.removeprefix(mine) for line in read.splitlines() if line.startswith(mine)]
    assert [row["label"] for row in json.loads(result)["predictions"]] == LABELS


async def kcat(stack: Stack, *options: str, stdin: bytes | None = None) -> bytes:
    program = await asyncio.create_subprocess_exec(
        *(*kcat_command(), "-b", stack.kafka_bootstrap_servers, *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await program.communicate(stdin)
    assert program.returncode == 0, errors
    return output
