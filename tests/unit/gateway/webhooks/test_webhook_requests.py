"""What is asked of webhooks is read strictly: what breaks a rule is refused by its name."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.webhooks.delivery_requests import read_acknowledged, read_claim, read_renewal, read_replay
from gateway.webhooks.endpoint_requests import (
    changed,
    read_change,
    read_disabling,
    read_enabling,
    read_endpoint,
    read_rotation,
    read_sample,
)
from schemas.errors import RequestError
from schemas.webhooks import DeliveryState, Endpoint, EventType, Limits, Mode, PayloadKind, Replay
from stores.webhooks import DeliveryFilter

AT = datetime(2026, 1, 2, tzinfo=UTC)
ENDPOINT = Endpoint(
    id="we_1",
    tenant="default",
    name="mine",
    url="https://example.com/hook",
    event_types=(EventType.JOB_SUCCEEDED,),
    created_at=AT,
    updated_at=AT,
    secrets=(),
)
WANTED = {"name": "mine", "url": "https://example.com/hook", "event_types": ["job.succeeded"]}
EVENT = {"id": "msg_1", "lease": "abc"}
READERS: dict[str, Callable[[bytes], Any]] = {
    "endpoint": read_endpoint,
    "change": read_change,
    "rotation": read_rotation,
    "enabling": read_enabling,
    "disabling": read_disabling,
    "sample": read_sample,
    "replay": read_replay,
    "claim": read_claim,
    "renewal": read_renewal,
    "acknowledged": read_acknowledged,
}
REFUSED: dict[str, tuple[str, Any, str | None, str]] = {
    "no name": ("endpoint", {"event_types": ["job.failed"]}, "name", "one line"),
    "an empty name": ("endpoint", WANTED | {"name": ""}, "name", "one line"),
    "a name of two lines": ("endpoint", WANTED | {"name": "a\nb"}, "name", "one line"),
    "a name with a NUL": ("endpoint", WANTED | {"name": "a\0"}, "name", "one line"),
    "a name of spaces": ("endpoint", WANTED | {"name": "  "}, "name", "one line"),
    "a long name": ("endpoint", WANTED | {"name": "x" * 201}, "name", "200"),
    "no events": ("endpoint", WANTED | {"event_types": []}, "event_types", "one or more"),
    "an event twice": ("endpoint", WANTED | {"event_types": ["job.failed"] * 2}, "event_types", "each once"),
    "an unknown event": ("endpoint", WANTED | {"event_types": ["job.done"]}, "event_types", "there are job.running"),
    "an event that we do not have": (
        "endpoint",
        WANTED | {"event_types": ["response.completed"]},
        "event_types",
        "there are job.running",
    ),
    "an event to be guessed": (
        "endpoint",
        WANTED | {"event_types": ["job.suceeded"]},
        "event_types",
        "did you mean job.succeeded?",
    ),
    "an event that is a number": ("endpoint", WANTED | {"event_types": [1]}, "event_types", "list"),
    "an unknown mode": ("endpoint", WANTED | {"mode": "poll"}, "mode", "push or pull"),
    "an unknown member": ("endpoint", WANTED | {"events": []}, "events", "did you mean event_types?"),
    "an unknown limit": ("change", {"limits": {"max_rate": 1}}, "limits.max_rate", "max_per_second"),
    "no concurrency": ("change", {"limits": {"concurrency": 0}}, "limits.concurrency", "from 1 to"),
    "a concurrency with a fraction": ("change", {"limits": {"concurrency": 1.5}}, "limits.concurrency", "whole number"),
    "a rate of nothing": ("change", {"limits": {"max_per_second": 0}}, "limits.max_per_second", "from 0.01"),
    "a rate of next to nothing": (
        "change",
        {"limits": {"max_per_second": 1e-300}},
        "limits.max_per_second",
        "from 0.01",
    ),
    "a time without end": ("change", {"limits": {"timeout_s": 31}}, "limits.timeout_s", "30"),
    "limits that are none": ("change", {"limits": 3}, "limits", "concurrency"),
    "a grace of a week and more": ("rotation", {"grace_s": 604801}, "grace_s", "7 days"),
    "two graces": ("rotation", {"grace_s": 1, "keep_old_secret_active_for_24_hours": True}, "grace_s", "one of them"),
    "since and no time": ("enabling", {"replay": "since"}, "since", "2026-01-31"),
    "a time and not since": ("enabling", {"since": "2026-01-31T12:00:00Z"}, "since", "2026-01-31"),
    "a time without a zone": ("enabling", {"replay": "since", "since": "2026-01-31T12:00:00"}, "since", "zone"),
    "a time before all": (
        "enabling",
        {"replay": "since", "since": "0001-01-01T00:00:00+14:00"},
        "since",
        "beyond the years",
    ),
    "another replay": ("enabling", {"replay": "all"}, "replay", "none, missed or since"),
    "an empty reason": ("disabling", {"reason": " "}, "reason", "one line"),
    "a sample of OpenAI's": ("sample", {"event_type": "response.failed"}, "event_type", "there are job.running"),
    "no filter": ("replay", {}, "filter", "which deliveries"),
    "an empty filter": ("replay", {"filter": {}}, "filter", "which deliveries"),
    "what is pending": ("replay", {"filter": {"state": "pending"}}, "filter.state", "tried anyway"),
    "an unknown state": ("replay", {"filter": {"state": "lost"}}, "filter.state", "one of pending"),
    "a misspelled filter": ("replay", {"filter": {"endpont": "we_1"}}, "filter.endpont", "did you mean endpoint?"),
    "an id with a NUL": ("replay", {"filter": {"job": "a\0"}}, "filter.job", "an id"),
    "a time that is none": ("replay", {"filter": {"created_after": "now"}}, "filter.created_after", "time"),
    "an after that is none": ("replay", {"filter": {"job": "j"}, "after": "a\0"}, "after", "next_after"),
    "a wait without end": ("claim", {"wait_s": 31}, "wait_s", "30"),
    "a claim of nothing": ("claim", {"limit": 0}, "limit", "from 1 to 100"),
    "a lease of an age": ("claim", {"lease_s": 1e9}, "lease_s", "3600"),
    "no events to renew": ("renewal", {"events": []}, "events", "1 to 100"),
    "too many events": ("acknowledged", {"events": [EVENT] * 101}, "events", "1 to 100"),
    "an event without a lease": ("acknowledged", {"events": [{"id": "msg_1"}]}, "events.lease", "came with"),
    "a lease with a NUL": ("acknowledged", {"events": [EVENT | {"lease": "a\0"}]}, "events.lease", "came with"),
    "events that are texts": ("acknowledged", {"events": ["msg_1"]}, "events", "with their leases"),
    "a list": ("endpoint", [], None, "the body is not a webhook endpoint"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_breaks_a_rule_is_refused_by_its_name(case: str) -> None:
    reader, value, param, words = REFUSED[case]
    with pytest.raises(RequestError) as refused:
        READERS[reader](orjson.dumps(value))
    assert (refused.value.param, refused.value.status) == (param, 400)
    assert words in refused.value.message, refused.value.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"name":"a","name":"b","event_types":["job.failed"],"url":"https://e.com"}', "name is given twice"),
        (
            b'{"name":"a","event_types":["job.failed"],"url":"u","limits":{"concurrency":1,"concurrency":2}}',
            "limits.concurrency is given twice",
        ),
        (b'{"name":', "not valid JSON"),
        (b'{"name":"\\ud800x","event_types":[]}', "surrogate"),
        (b'{"name":"a\xff","event_types":[]}', "UTF-8"),
        (b'{"name":NaN}', "NaN"),
        (b'{"name":"a","event_types":' + b"[" * 100_000, "event_types must be"),
    ],
)
def test_what_no_two_readers_read_alike_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_endpoint(body)
    assert words in refused.value.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "name",
        "url",
        "event_types",
        "mode",
        "limits",
        "grace_s",
        "replay",
        "since",
        "filter",
        "events",
        "wait_s",
        "limit",
    ]
)


@given(st.sampled_from(list(READERS)), json_values | st.dictionaries(NAMES | st.text(max_size=4), json_values))
def test_whatever_comes_is_read_or_refused(reader: str, value: Any) -> None:
    with suppress(RequestError):
        READERS[reader](orjson.dumps(value))


@given(st.sampled_from(list(READERS)), st.binary(max_size=60))
def test_whatever_bytes_come_are_read_or_refused(reader: str, body: bytes) -> None:
    with suppress(RequestError):
        READERS[reader](body)


def test_what_is_not_named_stays() -> None:
    wanted = read_change(b'{"name":"other","limits":{"timeout_s":3}}')
    after = changed(ENDPOINT, wanted)
    assert (after.name, after.url, after.event_types) == ("other", ENDPOINT.url, ENDPOINT.event_types)
    assert after.limits == Limits(timeout_s=3, connect_timeout_s=3), "nobody waits longer for a connection than in all"
    assert changed(ENDPOINT, read_change(b"{}")) == ENDPOINT
    assert changed(ENDPOINT, read_change(b"")) == ENDPOINT


def test_a_wait_for_a_connection_is_not_longer_than_all_of_it() -> None:
    with pytest.raises(RequestError) as refused:
        changed(ENDPOINT, read_change(b'{"limits":{"timeout_s":3,"connect_timeout_s":4}}'))
    assert refused.value.param == "limits.connect_timeout_s"


def test_an_endpoint_that_is_pulled_has_no_url_and_others_have_one() -> None:
    pulled = changed(ENDPOINT, read_change(b'{"mode":"pull"}'))
    assert (pulled.mode, pulled.url) == (Mode.PULL, None)
    pushed = changed(pulled, read_change(b'{"mode":"push","url":"https://example.com"}'))
    assert (pushed.mode, pushed.url) == (Mode.PUSH, "https://example.com")
    for before, wanted in ((pulled, b'{"url":"https://example.com"}'), (pulled, b'{"mode":"push"}')):
        with pytest.raises(RequestError) as refused:
            changed(before, read_change(wanted))
        assert refused.value.param == "url"
    with pytest.raises(RequestError) as refused:
        changed(ENDPOINT, read_change(b'{"url":null}'))
    assert refused.value.param == "url"


def test_all_that_an_endpoint_has_can_be_given() -> None:
    body = WANTED | {"payload": "thin", "ordered": True, "limits": {"concurrency": 2, "max_per_second": None}}
    after = changed(ENDPOINT, read_endpoint(orjson.dumps(body)))
    assert (after.payload, after.ordered, after.limits) == (PayloadKind.THIN, True, Limits(concurrency=2))


def test_a_secret_goes_on_for_as_long_as_is_said() -> None:
    assert read_rotation(b"") == timedelta()
    assert read_rotation(b'{"keep_old_secret_active_for_24_hours":true}') == timedelta(days=1)
    assert read_rotation(b'{"grace_s":604800}') == timedelta(days=7)


def test_what_is_held_is_sent_unless_it_is_said_otherwise() -> None:
    assert read_enabling(b"{}") == (Replay.MISSED, None)
    assert read_enabling(b'{"replay":"since","since":"2026-01-31T12:00:00+01:00"}') == (
        Replay.SINCE,
        datetime(2026, 1, 31, 11, tzinfo=UTC),
    )


def test_a_filter_is_read_in_the_words_of_the_store() -> None:
    body = {"endpoint": "we_1", "state": "failed", "type": "job.failed", "job": "job_1", "created_after": AT}
    wanted, after, dry_run = read_replay(orjson.dumps({"filter": body, "after": "msg_1", "dry_run": True}))
    assert (dry_run, after) == (True, "msg_1")
    assert wanted == DeliveryFilter(
        endpoint="we_1",
        state=DeliveryState.FAILED,
        event_type="job.failed",
        subject="job_1",
        created_after=AT,
    )


def test_events_come_with_their_leases() -> None:
    assert read_acknowledged(orjson.dumps({"events": [EVENT]})) == [("msg_1", "abc")]
    assert read_renewal(orjson.dumps({"events": [EVENT], "lease_s": 5})) == ([("msg_1", "abc")], 5)
