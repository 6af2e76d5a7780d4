"""The AsyncAPI document says what our own readers and writers do."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from click.testing import CliRunner
from jsonschema import Draft7Validator, FormatChecker

from gateway.asyncapi.document import document
from gateway.asyncapi.jobs import TENSORS
from gateway.openapi import Doc
from penstock.cli import main
from runtime.settings import KafkaSettings
from schemas.catalog import decode_entry
from schemas.errors import Undecodable
from schemas.examples import PNG
from schemas.feedback_records import read_feedback_record
from schemas.jobs import Payload, Status, Terminal
from schemas.records import read_terminal_record, terminal_record
from schemas.request_options import BESIDE, CE_HEADERS, PLAIN_HEADERS
from schemas.topics import LaneClass
from tests.unit.router.requests import CATALOG, INSTANCES, NOW, record, routed
from workers.dead_letters import dead_letter
from workers.router.routing import Begun, Routed, begin
from workers.router.submission import Limits

SETTINGS = KafkaSettings(topic_prefix="blue", max_record_bytes=1024 * 1024)
WHOLE = document(SETTINGS)
MESSAGES = WHOLE["components"]["messages"]
VALUES = {"jobTensors": TENSORS, "jobImage": base64.b64decode(PNG)}


class Example(NamedTuple):
    message: str
    headers: dict[str, str]
    payload: Any

    @property
    def raw_headers(self) -> tuple[tuple[str, bytes], ...]:
        return tuple((name, text.encode()) for name, text in self.headers.items())

    @property
    def value(self) -> bytes | None:
        return VALUES.get(self.message) or (None if self.payload is None else json.dumps(self.payload).encode())


EXAMPLES = {
    f"{name}-{each['name']}": Example(name, each.get("headers", {}), each.get("payload"))
    for name, message in MESSAGES.items()
    for each in message.get("examples", ())
}
JOBS = [name for name in EXAMPLES if name.startswith("job") and not name.startswith("jobClaim")]


def examples_of(*messages: str) -> list[str]:
    return [name for name, example in EXAMPLES.items() if example.message in messages]


def faults(schema: Doc, value: Any) -> list[str]:
    validator = Draft7Validator({**schema, "components": WHOLE["components"]}, format_checker=FormatChecker())
    return [error.message for error in validator.iter_errors(value)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_fits_its_schemas(name: str) -> None:
    example = EXAMPLES[name]
    message = MESSAGES[example.message]
    assert faults(message["headers"], example.headers) == []
    if example.message not in VALUES:
        assert faults(message["payload"], example.payload) == []


def test_every_form_of_a_job_has_an_example() -> None:
    assert {EXAMPLES[name].message for name in EXAMPLES} >= set(WHOLE["channels"]["requests"]["messages"])


@pytest.mark.parametrize("name", JOBS)
def test_every_example_of_a_job_is_one_for_the_router(name: str) -> None:
    example = EXAMPLES[name]
    decision = routed(record(example.value, *example.headers.items()))
    assert isinstance(decision, Routed), decision


def test_the_example_of_a_claim_is_read_as_one() -> None:
    (name,) = examples_of("jobClaim")
    asked = record(None, *EXAMPLES[name].headers.items())
    begun = begin(asked, CATALOG, {}, Limits(), NOW)
    assert isinstance(begun, Begun), begun
    assert begun.checked.payload.claim is not None
    assert begun.checked.payload.claim.size == 8388608


@pytest.mark.parametrize("name", examples_of("result", "failure"))
def test_every_example_of_a_result_is_read(name: str) -> None:
    example = EXAMPLES[name]
    terminal = read_terminal_record(example.raw_headers, example.value)
    assert (terminal.id, terminal.status) == ("order-17", example.headers["ce_status"])
    assert (terminal.error is None) == (example.message == "result")


@pytest.mark.parametrize("name", examples_of("feedback"))
def test_every_example_of_feedback_is_read(name: str) -> None:
    example = EXAMPLES[name]
    told = read_feedback_record(example.raw_headers, example.value, "default", datetime(2030, 1, 1, tzinfo=UTC))
    assert told.id == "order-17"


def test_the_example_of_the_catalog_is_read() -> None:
    (name,) = examples_of("modelVersion")
    assert decode_entry(EXAMPLES[name].value or b"").model == "vector"


def test_the_headers_of_jobs_are_all_that_are_read() -> None:
    plain, event = (set(MESSAGES[name]["headers"]["properties"]) for name in ("job", "jobEvent"))
    without_plain = {name for name, option in CE_HEADERS.items() if option not in PLAIN_HEADERS.values()}
    assert plain | {"ce_specversion"} == set(PLAIN_HEADERS) | without_plain
    assert event - {"ce_type", "ce_specversion", "content-type", "traceparent"} == set(CE_HEADERS)


def test_what_may_stand_beside_the_input_is_what_is_read_there() -> None:
    schemas = WHOLE["components"]["schemas"]
    for form in ("InferRequest", "Instances", "Features"):
        beside = schemas[f"{form}WithOptions"]["properties"].keys() - schemas[form]["properties"].keys()
        assert beside == set(BESIDE)
    assert schemas["Envelope"]["properties"].keys() == {"input", *BESIDE}


@pytest.mark.parametrize(
    "value",
    [
        {"model": "vector", "input": INSTANCES, "extra": 1},
        {"model": "vector", **INSTANCES, "extra": 1},
        {"model": "vector", **INSTANCES, "lane": "fast"},
        {"model": "vector", **INSTANCES, "timeout_s": 0},
        {"model": "vector", **INSTANCES, "sticky_key": "x" * 256},
        {"model": "vector", **INSTANCES, "metadata": []},
        {"model": "vector"},
    ],
    ids=["unknown", "unknown beside", "lane", "timeout", "sticky key", "metadata", "no input"],
)
def test_what_the_router_refuses_does_not_fit(value: Doc) -> None:
    assert not isinstance(routed(record(value)), Routed)
    assert faults(MESSAGES["job"]["payload"], value)


def test_the_headers_of_results_are_those_that_are_written() -> None:
    def written(**more: Any) -> set[str]:
        terminal = Terminal(
            tenant="default",
            id="a",
            model="vector",
            version="1",
            lane=LaneClass.LIVE,
            status=Status.SUCCEEDED,
            created_at=NOW,
            expires_at=NOW + timedelta(seconds=1),
            completed_at=NOW,
            **({"result": Payload(b"{}")} | more),
        )
        return {name for name, _ in terminal_record("results", terminal, "/test").headers}

    headers = MESSAGES["result"]["headers"]
    assert set(headers["required"]) == written()
    assert set(MESSAGES["resultTensors"]["headers"]["required"]) == written(result=Payload(b"{}", json_length=2))
    assert set(headers["properties"]) == written(
        started_at=NOW,
        variant="canary",
        revision=7,
        cohort=42,
        moved_from="2",
        metadata={"order": 7},
        reply_to="gw-1",
        retention_s=60,
        row_errors=True,
        result=Payload(b"{}", "application/octet-stream", 2),
    )


def test_the_headers_of_dead_letters_are_those_that_are_written() -> None:
    letter = dead_letter(record(b""), "readers", Undecodable("why"))
    headers = MESSAGES["deadLetter"]["headers"]
    assert set(headers["required"]) == set(headers["properties"]) == {name for name, _ in letter.headers}
    assert faults(headers, {name: raw.decode() for name, raw in letter.headers}) == []


def test_topics_have_the_names_and_settings_of_the_installation() -> None:
    channels = WHOLE["channels"]
    assert {name: channel["address"] for name, channel in channels.items()} == {
        "requests": "blue.requests.v1",
        "results": "blue.results.v1",
        "feedback": "blue.feedback.v1",
        "deadLetters": "dlq.{topic}",
        "catalog": "blue.catalog.v1",
    }
    settings = {name: each["bindings"]["kafka"]["topicConfiguration"] for name, each in channels.items()}
    assert settings["requests"]["max.message.bytes"] == 1024 * 1024
    assert settings["catalog"]["cleanup.policy"] == ["compact"]


def test_nothing_tells_where_the_brokers_are() -> None:
    told = json.dumps(document(KafkaSettings(kafka_bootstrap_servers="inside.example:9092")))
    assert "inside.example" not in told


async def test_a_gateway_serves_what_the_command_prints(client: httpx.AsyncClient) -> None:
    answer = await client.get("/asyncapi.json")
    assert answer.headers["content-type"] == "application/json"
    printed = CliRunner(env={"PENSTOCK_TOPIC_PREFIX": ""}).invoke(main, ["asyncapi"])
    assert printed.exit_code == 0, printed.output
    assert msgspec.json.decode(printed.stdout) == answer.json()
