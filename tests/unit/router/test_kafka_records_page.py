"""The page about Kafka records tells what the code does."""

import hashlib
import json
import re
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from schemas.errors import ErrorBody, TransientFailure, Undecodable
from schemas.jobs import Payload, Status, Terminal, job_id_of
from schemas.records import terminal_record
from schemas.request_options import CE_HEADERS, PLAIN_HEADERS
from schemas.topics import LaneClass
from tests.unit.router.requests import NOW, record, routed
from workers.dead_letters import dead_letter
from workers.inference.results.retry_policy import retry_record
from workers.router.routing import Routed

PAGE = (Path(__file__).parents[3] / "docs" / "kafka-records.md").read_text()
STRUCTURED = ("content-type", "application/cloudevents+json")


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


WRITING = section("Writing a job")
EXAMPLES = re.findall(r"```json\n(.*?)```", WRITING, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_job(example: str) -> None:
    value = json.loads(example)
    headers = [STRUCTURED] if "specversion" in value else []
    assert isinstance(routed(record(value, *headers)), Routed)


def test_the_line_for_kcat_is_a_job() -> None:
    value, name = re.findall(r"echo '(.*)' \| kcat .* -H model=(\w+)", WRITING)[0]
    assert isinstance(routed(record(value.encode(), ("model", name))), Routed)


def test_the_line_for_a_jobs_id_prints_it() -> None:
    (found,) = re.findall(r"`printf '%s\\n%s' (\S+) (\S+) \| sha256sum \| cut -c1-(\d+)`", WRITING)
    source, event_id, digits = found
    digest = hashlib.sha256(f"{source}\n{event_id}".encode()).hexdigest()
    assert job_id_of(event_id, source) == f"event_{digest[: int(digits)]}"


def rows(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")
    ]


def test_the_options_are_all_there_by_the_names_that_are_read() -> None:
    options = [cells for cells in rows(WRITING) if len(cells) == 5 and cells[0] != "option"]
    attributes = {cells[1].strip("`") for cells in options if cells[1]}
    plain = {cells[2].strip("`") for cells in options if cells[2]}
    assert attributes == set(CE_HEADERS)
    assert plain | {"ce_specversion"} == set(PLAIN_HEADERS)


def names_in(table: str) -> set[str]:
    return {name for cells in rows(table) for name in re.findall(r"`([a-z_.-]+)`", cells[0])}


def test_the_headers_of_a_result_are_all_there() -> None:
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
    written = {name for name, _ in terminal_record("results", terminal, "/test").headers}
    assert names_in(section("Reading results")) == written


def test_the_error_of_a_result_is_as_shown() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", section("Reading results"), re.DOTALL)
    assert msgspec.convert(json.loads(example)["error"], ErrorBody).code == "invalid_input"


def test_the_headers_of_a_retry_are_all_there() -> None:
    renewed = retry_record("retry", record(b""), 1, TransientFailure("why")).headers
    assert names_in(section("Retries")) == {name for name, _ in renewed}


def test_the_headers_of_a_dead_letter_are_all_there() -> None:
    letter = dead_letter(record(b""), "readers", Undecodable("why"))
    assert names_in(section("Dead letters")) == {name for name, _ in letter.headers}
