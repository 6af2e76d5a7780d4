import pytest

from gateway import submit_request
from gateway.submit_request import Options, options_from_query, options_of, parse_envelope
from schemas.errors import RequestError
from schemas.topics import LaneClass
from schemas.webhooks import EventType

DEEP = b"[" * 200_000 + b"]" * 200_000


def test_the_input_is_kept_as_the_bytes_it_is() -> None:
    envelope = parse_envelope(b'{"model": "digits", "input": {"inputs" : [ 1.50 ]} }')
    assert bytes(envelope.input) == b'{"inputs" : [ 1.50 ]}'
    assert options_of(envelope) == Options()


HOOK = "https://example.com/hook"


def test_every_option_is_read() -> None:
    envelope = parse_envelope(
        b'{"model":"m","version":"2","input":{},"lane":"bulk","timeout_s":30,"sticky_key":"s","row_errors":true,'
        b'"metadata":{"a":[1,null,"x"]},"webhook":"https://example.com/hook",'
        b'"webhook_events_filter":["job.failed","start"]}'
    )
    assert envelope.version == "2"
    assert options_of(envelope) == Options(
        LaneClass.BULK,
        30,
        {"a": [1, None, "x"]},
        sticky_key="s",
        row_errors=True,
        webhook=HOOK,
        webhook_events=(EventType.JOB_RUNNING, EventType.JOB_FAILED),
    )


def test_an_option_that_is_null_is_not_given() -> None:
    nothing = b'{"model":"m","input":{},"timeout_s":null,"metadata":null,"webhook":null,"webhook_events_filter":null}'
    assert options_of(parse_envelope(nothing)) == Options()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"null", None),
        (b'"text"', None),
        (b'{"model":"m","input":{}} trailing', None),
        (b"\xff\xfe", None),
        (b"\xef\xbb\xbf{}", None),
        (b'{"model":"m"}', "input"),
        (b'{"input":{}}', "model"),
        (b'{"model":1,"input":{}}', "model"),
        (b'{"model":null,"input":{}}', "model"),
        (b'{"model":"\xff","input":{}}', None),
        (b'{"model":"\\ud800","input":{}}', None),
        (b'{"model":"m","input":{},"timeout":5}', "timeout"),
        (b'{"model":"m","input":{},"timeout_s":"5"}', "timeout_s"),
        (b'{"model":"m","input":{},"timeout_s":true}', "timeout_s"),
        (b'{"model":"m","input":{},"timeout_s":NaN}', None),
        (b'{"model":"m","input":{},"timeout_s":1' + b"0" * 5000 + b"}", "timeout_s"),
        (b'{"model":"m","input":{},"lane":"fast"}', "lane"),
        (b'{"model":"m","input":{},"sticky_key":7}', "sticky_key"),
        (b'{"model":"m","input":' + DEEP + b"}", None),
        (b'{"model":"m","input":{},"metadata":' + DEEP + b"}", None),
        (b'{"model":"m","input":{},"metadata":{"a":"\\ud800"}}', None),
        (DEEP, None),
        (b'{"a":' * 200_000, "a"),
    ],
)
def test_a_malformed_body_is_refused_by_field(body: bytes, param: str | None) -> None:
    with pytest.raises(RequestError) as refused:
        parse_envelope(body)
    assert refused.value.param == param
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b","input":{}}',
        b'{"model":"a","input":{},"input":{"x":1}}',
        b'{"model":"a","input":{},"metadata":{"model":"x"},"lane":"live","lane":"bulk"}',
        b'{"model":"a","input":{},"lane":"bulk","lane":"live"}',
        b'{"model":"a","input":{},"version":"1","version":null}',
        b'{"model":"a","input":{"a":1,"b":2},"input":{}}',
        b'{"model":"a","input":{},"webhook":null,"webhook":null}',
        b'{"model":"a","input":{},"webhook":"https://a/","webhook":"https://b/"}',
    ],
)
def test_a_name_given_twice_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="twice"):
        parse_envelope(body)


def test_names_may_come_again_inside_input_and_metadata() -> None:
    body = b'{"model":"a","input":{"model":1,"input":2},"metadata":{"model":"x","metadata":{}}}'
    assert parse_envelope(body).model == "a"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (b'"metadata":[]', "metadata"),
        (b'"metadata":"text"', "metadata"),
        (b'"metadata":{"a":"\\u0000"}', "metadata"),
        (b'"metadata":{"\\u0000":1}', "metadata"),
        (b'"metadata":{"a":["\\u0000"]}', "metadata"),
        (b'"metadata":{"a":1' + b"0" * 30 + b"}", "metadata"),
        (b'"metadata":{"a":1' + b"0" * 5000 + b"}", "metadata"),
        (b'"metadata":{"a":1e999}', "metadata"),
        (b'"metadata":{"a":"\xff"}', "metadata"),
        (b'"metadata":{"a":' + b"[" * 17 + b"]" * 17 + b"}", "metadata"),
        (b'"metadata":{"a":"' + b"x" * 8192 + b'"}', "metadata"),
        (b'"sticky_key":""', "sticky_key"),
        (b'"sticky_key":"a\\u0000b"', "sticky_key"),
        (b'"sticky_key":"' + b"x" * 256 + b'"', "sticky_key"),
        (b'"row_errors":"true"', "row_errors"),
        (b'"row_errors":null', "row_errors"),
        (b'"webhook":{}', "webhook"),
        (b'"webhook":["https://example.com/hook"]', "webhook"),
        (b'"webhook_events_filter":["completed"]', "webhook_events_filter"),
        (b'"webhook":"https://example.com/","webhook_events_filter":"completed"', "webhook_events_filter"),
        (b'"webhook":"https://example.com/","webhook_events_filter":[]', "webhook_events_filter"),
        (b'"webhook":"https://example.com/","webhook_events_filter":[1]', "webhook_events_filter"),
        (b'"webhook":"https://example.com/","webhook_events_filter":["job.done"]', "webhook_events_filter"),
    ],
)
def test_an_option_that_breaks_its_rule_is_refused(fields: bytes, param: str) -> None:
    with pytest.raises(RequestError) as refused:
        options_of(parse_envelope(b'{"model":"m","input":{},' + fields + b"}"))
    assert refused.value.param == param


def test_metadata_of_the_allowed_depth_and_size_is_kept() -> None:
    deep = b'{"a":' + b"[" * 15 + b"]" * 15 + b"}"
    assert options_of(parse_envelope(b'{"model":"m","input":{},"metadata":' + deep + b"}")).metadata


def test_options_are_read_from_the_query() -> None:
    options = options_from_query(b"lane=bulk&timeout_s=2.5&sticky_key=s&metadata=%7B%22a%22%3A1%7D&row_errors=true")
    assert options == Options(LaneClass.BULK, 2.5, {"a": 1}, sticky_key="s", row_errors=True)
    assert options_from_query(b"") == Options()


@pytest.mark.parametrize(
    ("query", "param"),
    [
        (b"lane=fast", "lane"),
        (b"row_errors=1", "row_errors"),
        (b"row_errors=", "row_errors"),
        (b"timeout_s=soon", "timeout_s"),
        (b"timeout_s=", "timeout_s"),
        (b"timeout_s=NaN", "timeout_s"),
        (b"timeout_s=1&timeout_s=2", "timeout_s"),
        (b"metadata=%5B%5D", "metadata"),
        (b"metadata=%00", "metadata"),
        (b"sticky_key=", "sticky_key"),
        (b"webhook_events_filter=completed", "webhook_events_filter"),
        (b"webhook=https://example.com&webhook_events_filter=", "webhook_events_filter"),
        (b"webhook=https://example.com&webhook_events_filter=completed,never", "webhook_events_filter"),
        (b"colour=red", "colour"),
        (b"lane", None),
        (b"lane=%ff", None),
        (b"lane=\xff", None),
        (b"&".join(b"lane=live" for _ in range(40)), None),
    ],
)
def test_a_query_that_breaks_a_rule_is_refused(query: bytes, param: str | None) -> None:
    with pytest.raises(RequestError) as refused:
        options_from_query(query)
    assert refused.value.param == param


def test_a_large_body_is_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_request, "first_twin", pytest.fail)
    parsed = parse_envelope(b'{"model":"a","version":"1","input":{"b":{"c":1}},"metadata":{"d":":"},"timeout_s":5}')
    assert bytes(parsed.input) == b'{"b":{"c":1}}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","instances":[[1]]}',
        b'{"model":"a","inputs":"text"}',
        b'{"model":"a","prompt":"text"}',
        b'{"model":"a"}',
        b'{"instances":[[1]]}',
        b"[[1]]",
        b'"text"',
    ],
)
def test_whoever_leaves_the_input_out_is_shown_where_it_goes(body: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        parse_envelope(body)
    assert refused.value.message.endswith(submit_request.ENVELOPE_HINT)


@pytest.mark.parametrize("typed", ["metdata", "timeout", "stickykey"])
def test_a_mistyped_option_is_told_by_its_name(typed: str) -> None:
    with pytest.raises(RequestError, match="did you mean"):
        parse_envelope(b'{"model":"a","input":{},"%b":1}' % typed.encode())
