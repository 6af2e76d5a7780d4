"""What dead letters say of themselves, which are meant, and how they are shown."""

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from penstock.dlq.letter import Place, parse_place
from penstock.dlq.mark import Mark, mark_record, read_mark
from penstock.dlq.rendering import HEX_BYTES, LISTED_BYTES, TITLES, as_object, as_whole_object, row, whole
from penstock.dlq.selection import Selection
from penstock.showing import show_table
from penstock.times import parse_moment
from schemas.errors import RequestError
from schemas.jobs import Payload
from schemas.signature import Signature, TensorSpec
from tests.unit.dlq.letters import LANE, NOON, TOPICS, parked, undecodable
from tests.unit.schemas.reading import checked


def test_a_job_that_was_given_up_says_which_it_was_and_why() -> None:
    letter = parked()
    assert (letter.job_id, letter.model, letter.version, letter.deliveries) == ("job_1", "digits", "2", 4)
    assert (letter.origin, letter.code, letter.ended) == (Place(LANE, 1, 7), "transient_failure", True)
    assert str(letter.place) == f"dlq.{LANE}:0:3"
    assert parse_place(str(letter.place)) == letter.place


def test_a_record_that_was_no_message_has_the_id_that_its_job_would_have_got() -> None:
    letter = undecodable(("model", b"digits"))
    assert (letter.job_id, letter.model, letter.ended) == (f"{TOPICS.requests}-1-7", "digits", False)
    assert letter.original_headers == [("model", b"digits")]


def test_what_stands_in_a_dead_letter_topic_may_be_anything() -> None:
    letter = msgspec.structs.replace(undecodable(), headers=(("__dlq.errors.offset", b"\xff"), ("ce_id", b"\xff")))
    assert (letter.origin, letter.job_id, letter.deliveries, letter.message) == (None, None, 1, "")
    assert list(whole(letter, None))


@pytest.mark.parametrize("text", ["", "topic", "topic:1", "topic:x:1", "topic:1:-1", ":1:1"])
def test_an_id_is_a_topic_a_partition_and_an_offset(text: str) -> None:
    with pytest.raises(RequestError, match="topic:partition:offset"):
        parse_place(text)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"topic": f"dlq.{LANE}"},
        {"topic": LANE},
        {"topic": "*lane.digits*"},
        {"model": "digits", "version": "2"},
        {"error": "STORE of"},
        {"error": "transient_failure"},
        {"job_id": "job_1"},
        {"since": NOON, "until": NOON + timedelta(seconds=1)},
        {"places": frozenset([parked().place])},
    ],
)
def test_a_letter_is_meant_where_all_filters_fit(filters: dict[str, Any]) -> None:
    assert Selection(**filters).has(parked(), {})


@pytest.mark.parametrize(
    "filters",
    [
        {"topic": "dlq.*.results.v1"},
        {"model": "digits", "version": "1"},
        {"model": "digit"},
        {"error": "memory"},
        {"job_id": "job"},
        {"since": NOON + timedelta(seconds=1)},
        {"until": NOON},
        {"places": frozenset([Place("dlq.other", 0, 1)])},
    ],
)
def test_a_letter_is_not_meant_where_one_filter_does_not_fit(filters: dict[str, Any]) -> None:
    assert not Selection(**filters).has(parked(), {})


def test_what_was_seen_to_is_meant_only_where_it_is_named_or_asked_for() -> None:
    letter, mark = parked(), Mark("dropped", NOON)
    marks = {letter.place: mark}
    assert not Selection().has(letter, marks)
    assert Selection(handled=True).has(letter, marks)
    assert Selection(places=frozenset(marks)).has(letter, marks)


def test_a_mark_reads_back_as_it_was_written_and_anything_else_is_none() -> None:
    mark = Mark("replayed", NOON, "job_2")
    record = mark_record("marks", parked().place, mark)
    assert read_mark(record.key, record.value) == (parked().place, mark)
    for key, value in ((None, None), (b"\xff", record.value), (record.key, b"{}"), (b"x", record.value)):
        assert read_mark(key, value) is None


def test_times_are_told_by_how_long_ago_or_with_their_zone() -> None:
    assert parse_moment("2h", NOON) == NOON - timedelta(hours=2)
    assert parse_moment("2h", NOON, ahead=True) == NOON + timedelta(hours=2)
    assert parse_moment("2026-01-01T13:00:00+01:00", NOON) == NOON
    for wrong in ("yesterday", "2026-01-01T12:00:00", "99999999999999d", ""):
        with pytest.raises(RequestError):
            parse_moment(wrong, NOON)


def test_a_row_of_the_table_shows_what_was_done() -> None:
    letter = parked()
    assert row(letter, None)[:6] == (f"dlq.{LANE}:0:3", "2026-01-01T12:00:00.000Z", "digits/2", "job_1", "4", "")
    assert row(letter, Mark("replayed", NOON, "job_2"))[5] == "replayed as job_2"


def test_what_others_wrote_cannot_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    letter = undecodable(("model", b"\x1b[31mred\n"), ("x\x1b", b"\x1b]0;title\x07"), value=b"\x1b[2J")
    show_table(TITLES, [row(letter, None)])
    shown = "\n".join([capsys.readouterr().out, *whole(letter, None)])
    assert "\x1b" not in shown


def test_a_letter_is_shown_with_its_headers_and_its_payload_as_json() -> None:
    shown = "\n".join(whole(parked(), None))
    for part in ("transient_failure: the store", "waiting", f"{LANE}:1:7", "ce_modelversion: 2", '  "inputs": []'):
        assert part in shown
    assert "__dlq" not in shown


def test_a_payload_of_raw_bytes_is_shown_in_hex_behind_its_json() -> None:
    head = b'{"inputs": []}'
    letter = parked(payload=Payload(head + bytes(range(256)) * 2, "application/octet-stream", len(head)))
    shown = list(whole(letter, None))
    assert '  "inputs": []' in shown
    assert any(line.startswith("00000000  00 01 02") for line in shown)
    assert shown[-1] == "... 256 bytes more"


@pytest.mark.parametrize(
    ("spec", "data"),
    [
        (TensorSpec("x", "FP32", (-1, 2)), [1.5, -2.0]),
        (TensorSpec("x", "FP16", (-1, 2)), [0.25, 4.0]),
        (TensorSpec("x", "BYTES", (-1, 2)), ["a text", {"b64": "/w=="}]),
    ],
)
def test_raw_tensors_of_an_input_are_shown_as_the_values_they_came_as(spec: TensorSpec, data: list[Any]) -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": spec.datatype, "data": data}
    asked = {"inputs": [tensor], "outputs": [{"name": "y"}], "parameters": {"k": 1}}
    payload = checked(
        Signature((spec,), (TensorSpec("y", "FP32", (-1,)),)), Payload(json.dumps(asked).encode())
    ).payload
    assert payload.json_length is not None
    shown = list(whole(parked(payload=payload), None))
    start = shown.index(f"payload     {len(payload.value)} bytes") + 1
    assert json.loads("\n".join(shown[start:])) == asked


def test_large_tensors_are_shown_in_hex() -> None:
    parameters = {"binary_data_size": LISTED_BYTES + 4}
    tensor = {"name": "x", "shape": [LISTED_BYTES // 4 + 1], "datatype": "FP32", "parameters": parameters}
    head = json.dumps({"inputs": [tensor]}).encode()
    payload = Payload(head + b"\1" * (LISTED_BYTES + 4), "application/octet-stream", len(head))
    assert list(whole(parked(payload=payload), None))[-1] == f"... {LISTED_BYTES + 4 - HEX_BYTES} bytes more"


def test_programs_get_facts_and_bytes_they_can_restore() -> None:
    letter = parked()
    told = json.loads(json.dumps(as_whole_object(letter, Mark("replayed", NOON, "job_2"))))
    assert (told["id"], told["state"], told["new_job_id"]) == (str(letter.place), "replayed", "job_2")
    assert told["payload_base64"] == "eyJpbnB1dHMiOiBbXX0="
    assert as_object(letter, None)["state"] == "waiting"
