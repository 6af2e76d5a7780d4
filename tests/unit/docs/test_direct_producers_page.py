"""The page for direct producers shows the programs that tests run, and says what the router does."""

import re
from pathlib import Path

import pytest

from schemas.jobs import DEFAULT_TIMEOUT_S
from schemas.topics import Topics
from tests.unit.docs.walks import steps_of
from tests.unit.router.requests import INSTANCES, record, routed
from workers.consuming.protocols import Record
from workers.router.routing import Dead, Refused, Routed

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "direct-producers.md"
TEXT = PAGE.read_text()
PROGRAMS = sorted(path for path in (ROOT / "examples" / "kafka").iterdir() if path.is_file())
MODEL = ("model", "vector")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_it_shows_the_program_as_it_is(path: Path) -> None:
    shown = {step.note: step.content for step in steps_of(PAGE) if step.is_file}
    assert shown[str(path.relative_to(ROOT))] == path.read_text()


def test_topics_have_their_names_on_the_page_and_in_the_programs() -> None:
    topics = Topics("penstock")
    written = "".join(path.read_text() for path in PROGRAMS) + TEXT
    named = set(re.findall(r"(?<!io\.)(?:dlq\.)?penstock\.[a-z]+\.v1", written))
    assert named == {topics.requests, topics.results, topics.dead_letter(topics.requests)}
    assert f"the job's {DEFAULT_TIMEOUT_S:g} seconds" in TEXT


# By the lines of its table of bad records.
BAD: list[tuple[str, Record, type]] = [
    ("an option", record(INSTANCES, MODEL, ("lane", "fast")), Refused),
    ("the input", record({"instances": [[1]]}, MODEL), Refused),
    ("a header that is there twice", record(INSTANCES, MODEL, ("lane", "live"), ("lane", "bulk")), Refused),
    ("has no value (a tombstone)", record(None, MODEL), Dead),
    ("no model name", record(INSTANCES), Dead),
    ("an id that is not UTF-8", record(INSTANCES, MODEL, ("ce_id", b"\xff")), Dead),
    ("a CloudEvent that cannot be read", record(b"{}", ("content-type", "application/cloudevents+json")), Dead),
    ("headers that are not ours", record(INSTANCES, MODEL, ("b3", b"\xff")), Routed),
]


@pytest.mark.parametrize(("words", "asked", "end"), BAD, ids=[words for words, *_ in BAD])
def test_bad_records_end_where_it_says(words: str, asked: Record, end: type) -> None:
    (line,) = [line for line in TEXT.splitlines() if line.startswith("| ") and words in line]
    where = {Refused: "`failed` job", Dead: "dead letters", Routed: "nowhere"}[end]
    assert where in line
    assert isinstance(routed(asked), end)
