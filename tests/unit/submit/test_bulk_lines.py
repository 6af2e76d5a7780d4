import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.bulk.lines import LineDefaults, custom_id_of, read_line
from producers.bulk.requests import request_record
from schemas.errors import InvalidInput
from schemas.topics import LaneClass

NONE = LineDefaults()
DIGITS = LineDefaults(model="digits", version="2", lane=LaneClass.LIVE, timeout_s=30)


def test_an_envelope_is_taken_as_it_stands() -> None:
    raw = (
        b'{"model": "digits", "version": "1", "lane": "live", "timeout_s": 5, "input": {"instances": [1.50]}, '
        b'"metadata": {"a": 1}, "custom_id": "x"}'
    )

    line = read_line(7, raw, NONE)

    assert (line.number, line.model, line.version, line.lane) == (7, "digits", "1", LaneClass.LIVE)
    assert (line.timeout_s, line.custom_id) == (5, "x")
    assert bytes(line.input) == b'{"instances": [1.50]}', "the input's bytes are not touched"
    assert json.loads(line.envelope()) == {
        "model": "digits",
        "version": "1",
        "lane": "live",
        "timeout_s": 5,
        "input": {"instances": [1.5]},
        "metadata": {"a": 1},
    }


def test_an_envelope_without_options_takes_those_of_the_run() -> None:
    line = read_line(1, b'{"input": {"instances": [1]}}', DIGITS)

    assert (line.model, line.version, line.lane, line.timeout_s) == ("digits", "2", LaneClass.LIVE, 30)


def test_the_runs_version_is_not_meant_for_another_model() -> None:
    line = read_line(1, b'{"model": "other", "input": {"instances": [1]}}', DIGITS)

    assert (line.model, line.version) == ("other", None)


def test_a_payload_is_wrapped_for_the_runs_model_without_its_custom_id() -> None:
    line = read_line(1, b'{"custom_id": "x", "instances": [[0.10, 2e0]]}', DIGITS)

    assert line.custom_id == "x"
    assert bytes(line.input) == b'{"instances":[[0.10, 2e0]]}'


def test_a_tensor_request_keeps_its_own_id_and_parameters() -> None:
    raw = b'{"id": "mine", "inputs": [], "parameters": {"p": 1}}'

    assert json.loads(bytes(read_line(1, raw, DIGITS).input)) == json.loads(raw)


HOOK = LineDefaults(model="digits", webhook="https://example.com/a", webhook_events=("job.failed",))


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'{"instances": [1]}', ("https://example.com/a", ["job.failed"])),
        (b'{"input": {}, "webhook": null, "metadata": {"a": 1}}', ("https://example.com/a", ["job.failed"])),
        (b'{"input": {}, "webhook": "https://example.com/b"}', ("https://example.com/b", None)),
        (b'{"input": {}, "webhook_events_filter": ["start"]}', ("https://example.com/a", ["start"])),
    ],
    ids=["payload", "envelope", "its own", "its own events"],
)
def test_a_line_has_the_runs_webhook_unless_it_names_one(raw: bytes, told: tuple[str, object]) -> None:
    line = read_line(1, raw, HOOK)
    over_http = json.loads(line.envelope())
    record = request_record("t", "job_a", line, datetime(2026, 1, 1, tzinfo=UTC), "/a")
    for sent in (over_http, json.loads(record.value or b"")):
        assert (sent["webhook"], sent.get("webhook_events_filter")) == told
    assert json.loads(bytes(line.input)) == json.loads(raw).get("input", {"instances": [1]})


def test_an_option_that_is_null_is_as_good_as_absent() -> None:
    line = read_line(1, b'{"input": {}, "metadata": null, "webhook": null, "lane": null, "version": null}', DIGITS)

    assert line.options == {}
    assert line.version == "2"


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (b"{not json", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[1, 2]", "not a job: Expected `object`, got `array`"),
        (b'{"something": 1}', "neither input nor one of inputs, instances, features"),
        (b'{"input": {}, "lane": "fast"}', "Invalid enum value 'fast'"),
        (b'{"input": {}, "timeout_s": 0}', "Expected `float` > 0"),
        (b'{"input": {}, "lane": "live", "lane": "bulk"}', "lane is given twice"),
        (b'{"instances": [1], "inst\\u0061nces": [2]}', "instances is given twice"),
        (b'{"instances": ["\\ud83d"]}', "half of a character"),
        (b'{"input": {}, "custom_id": 5}', "Expected `str | null`, got `int`"),
    ],
)
def test_a_line_that_is_no_job_is_refused_with_the_reason(raw: bytes, rule: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_line(1, raw, DIGITS)

    assert rule in caught.value.message


@pytest.mark.parametrize("raw", [b'{"input": {}}', b'{"instances": []}'])
def test_a_line_for_no_model_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_line(1, raw, NONE)

    assert caught.value.param == "model"


def test_a_wrong_line_still_tells_its_custom_id_where_it_can_be_read() -> None:
    assert custom_id_of(b'{"custom_id": "x", "lane": 5}') == "x"
    assert custom_id_of(b'{"custom_id": 5}') is None
    assert custom_id_of(b"nonsense") is None


NOW = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([10**400, -(10**400), 1e308, 0, 1e-320]))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5))
VALUES = st.one_of(LEAVES, st.lists(LEAVES, max_size=3), st.dictionaries(st.text(max_size=3), LEAVES, max_size=3))
MEMBERS = st.sampled_from(["input", "instances", "features", "inputs", "model", "version", "lane", "timeout_s", "x"])
OBJECTS = st.dictionaries(MEMBERS, VALUES, max_size=6).map(json.dumps)
DEEP = st.integers(1, 50_000).map(lambda depth: '{"input": ' + "[" * depth + "]" * depth + "}")
SPOILT = st.tuples(OBJECTS, st.integers(0, 60), st.binary(max_size=3)).map(
    lambda parts: parts[0].encode()[: parts[1]] + parts[2] + parts[0].encode()[parts[1] :]
)


@given(st.one_of(st.binary(), OBJECTS.map(str.encode), DEEP.map(str.encode), SPOILT))
def test_whatever_a_line_holds_it_is_a_job_or_a_refusal(raw: bytes) -> None:
    custom_id_of(raw)
    with suppress(InvalidInput):
        line = read_line(1, raw, DIGITS)
        line.envelope()
        request_record("requests", "job_1", line, NOW, "/test")
