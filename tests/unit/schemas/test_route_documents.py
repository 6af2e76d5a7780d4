"""Routes as operators write them, and as their records: each rule, told with the member that breaks it."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import RequestError
from schemas.route_documents import (
    MAX_BYTES,
    WantedRoute,
    check_announced,
    decode_route,
    encode_route,
    read_route,
)
from schemas.routes import WHOLE, Pin, Route, Shadow, Sticky

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPLIT: dict[str, Any] = {"versions": {"1": 9000, "2": 1000}}
FULL: dict[str, Any] = {
    **SPLIT,
    "default": "1",
    "labels": {"stable": "1", "canary": "2"},
    "sticky": {"source": "header:x-user"},
    "salt": "spring",
    "pins": [{"version": "1", "tenant": "acme"}, {"version": "2", "key": "alice"}],
    "rescue": True,
}


def read(document: Any) -> WantedRoute:
    return read_route(json.dumps(document).encode())


def made(document: Any = FULL, revision: int = 3, before: Route | None = None) -> Route:
    return read(document).as_route(before, model="digits", revision=revision, updated_at=NOW, updated_by="ann")


def test_a_whole_document_is_read() -> None:
    assert read(FULL) == WantedRoute(
        versions={"1": 9000, "2": 1000},
        default="1",
        labels={"stable": "1", "canary": "2"},
        sticky=Sticky("header:x-user"),
        salt="spring",
        pins=(Pin("1", tenant="acme"), Pin("2", key="alice")),
        rescue=True,
    )


@pytest.mark.parametrize(
    ("document", "default"),
    [
        (SPLIT, "1"),
        ({"versions": {"1": 5000, "2": 5000}}, "1"),
        ({"versions": {"1": 0, "10": 10_000}}, "10"),
        ({**SPLIT, "labels": {"stable": "2"}}, "2"),
        ({**SPLIT, "labels": {"stable": "2"}, "default": "1"}, "1"),
    ],
)
def test_the_default_is_what_is_named_else_the_stable_else_the_largest(document: Any, default: str) -> None:
    assert read(document).default == default


def test_keys_stay_where_they_are_unless_another_salt_is_named() -> None:
    first = made(SPLIT)
    assert first.salt == "digits"
    salted = made(FULL, before=first)
    assert salted.salt == "spring"
    assert made(SPLIT, before=salted).salt == "spring"


@pytest.mark.parametrize(
    ("change", "param", "rule"),
    [
        ({"versions": {}}, "versions", "1 to 32"),
        ({"versions": {f"v{number}": 0 for number in range(33)}}, "versions", "1 to 32"),
        ({"versions": {"1": 9000, "2": 999}}, "versions", "10000 basis points"),
        ({"versions": {"1": 10_001, "2": -1}}, "versions.1", "0 to 10000"),
        ({"versions": {"1": 9000.0, "2": 1000}}, "versions.1", "whole number"),
        ({"versions": {"1": "10000"}}, "versions.1", "whole number"),
        ({"versions": {"1": True, "2": 9999}}, "versions.1", "whole number"),
        ({"versions": {"1": 10**30}}, "versions.1", "whole number"),
        ({"versions": {"V1": 10_000}}, "versions.V1", "must name a version"),
        ({"versions": {"": 10_000}}, "versions.", "must name a version"),
        ({"versions": [1]}, "versions", "object"),
        ({"default": "a/b"}, "default", "must name a version"),
        ({"labels": {"canary": "2\0"}}, "labels.canary", "must name a version"),
        ({"labels": {"Canary": "2"}}, "labels.Canary", "lower-case"),
        ({"labels": {"1": "2"}}, "labels.1", "letter"),
        ({"labels": {"latest": "2"}}, "labels.latest", "highest"),
        ({"versions": {"1": 0, "old": 10_000}, "labels": {"old": "1"}}, "labels.old", "version's name"),
        ({"labels": {f"l{number}": "1" for number in range(33)}}, "labels", "at most 32"),
        ({"sticky": {"source": "cookie:id"}}, "sticky.source", "header:<name"),
        ({"sticky": {"source": "header:X-User"}}, "sticky.source", "lower case"),
        ({"sticky": {"source": "header:"}}, "sticky.source", "header:<name"),
        ({"sticky": {"source": "metadata:a..b"}}, "sticky.source", "metadata:<name"),
        ({"sticky": {"source": "metadata:" + ".".join("abcdefghi")}}, "sticky.source", "metadata:<name"),
        ({"sticky": {"sauce": "record_key"}}, "sticky.sauce", "did you mean source"),
        ({"sticky": "record_key"}, "sticky", "object"),
        ({"salt": ""}, "salt", "1 to 64"),
        ({"salt": "a\nb"}, "salt", "control"),
        ({"salt": "x" * 65}, "salt", "1 to 64"),
        ({"shadow": [{"version": "2", "rate": 1.5}]}, "shadow[0].rate", "0 to 1"),
        ({"shadow": [{"version": "2", "rate": -0.1}]}, "shadow[0].rate", "0 to 1"),
        ({"shadow": [{"version": "2"}]}, "shadow[0]", "rate"),
        ({"shadow": [{"version": "2", "rate": "5 %"}]}, "shadow[0].rate", "float"),
        ({"shadow": [{"version": "/", "rate": 1}]}, "shadow[0].version", "must name a version"),
        ({"shadow": [{"version": "2", "rate": 1}] * 2}, "shadow[1].version", "once more"),
        ({"shadow": [{"version": f"{n}", "rate": 1} for n in range(5)]}, "shadow", "at most 4"),
        ({"shadow": [{"version": "2", "rate": 1, "rows_per_s": 0}]}, "shadow[0].rows_per_s", "above 0"),
        ({"shadow": [{"version": "2", "rate": 1, "device_share": 0}]}, "shadow[0].device_share", "above 0"),
        ({"shadow": [{"version": "2", "rate": 1, "device_share": 1.1}]}, "shadow[0].device_share", "at most 1"),
        ({"shadow": [{"version": "2", "rate": 1, "exclude_tenants": [""]}]}, "shadow[0].exclude_tenants", "1 to 255"),
        ({"shadow": [{"version": "2", "rate": 1, "rows": 1}]}, "shadow[0].rows", "no member"),
        ({"pins": [{"version": "1"}]}, "pins[0]", "exactly one"),
        ({"pins": [{"version": "1", "tenant": "a", "key": "b"}]}, "pins[0]", "exactly one"),
        ({"pins": [{"version": "1", "key": ""}]}, "pins[0].key", "1 to 255"),
        ({"pins": [{"version": "1", "key": "a\0"}]}, "pins[0].key", "NUL"),
        ({"pins": [{"version": "1", "tenant": "t" * 256}]}, "pins[0].tenant", "1 to 255"),
        ({"pins": [{"version": "1", "key": "a"}, {"version": "2", "key": "a"}]}, "pins[1].key", "once more"),
        ({"pins": [{"version": "-", "key": "a"}]}, "pins[0].version", "must name a version"),
        ({"pins": [{"version": "1", "key": str(number)} for number in range(1001)]}, "pins", "at most 1000"),
        ({"pins": [{"version": "1", "user": "a"}]}, "pins[0].user", "no member"),
        ({"rescue": "yes"}, "rescue", "bool"),
        ({"lables": {}}, "lables", "did you mean labels"),
        ({"revision": 4}, "revision", "leave it out"),
        ({"model": "digits"}, "model", "leave it out"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_rule_that_is_broken_is_told_with_its_member(change: Any, param: str, rule: str) -> None:
    with pytest.raises(RequestError) as refused:
        read({**SPLIT, **change})
    assert refused.value.param == param
    assert rule in refused.value.message


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b'{"versions":{"1":10000},"versions":{"2":10000}}', "versions"),
        (b'{"versions":{"1":9000,"1":10000}}', "versions.1"),
        (b'{"versions":{"1":10000},"labels":{"canary":"1","canary":"2"}}', "labels.canary"),
        (b'{"versions":{"1":10000},"pins":[{"version":"1","key":"a","key":"b"}]}', "pins[0].key"),
    ],
)
def test_a_member_that_is_there_twice_is_refused(raw: bytes, param: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_route(raw)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b'{"versions":' * 10_000,
        b'{"versions":{"1":10000}} x',
        b" " * (MAX_BYTES + 1),
    ],
    ids=lambda raw: ascii(raw[:12]),
)
def test_what_is_no_route_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestError):
        read_route(raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["versions", "1", "pins", "labels", "sticky", "source", "a"]), inner)
        ),
    )
)
def test_any_json_is_a_route_or_refused(value: Any) -> None:
    with suppress(RequestError):
        assert sum(read(value).versions.values()) == WHOLE


def test_versions_that_nobody_has_announced_are_named() -> None:
    route = read({**FULL, "pins": [{"version": "3", "key": "a"}]})
    with pytest.raises(RequestError) as refused:
        check_announced(route, {"1", "2"})
    assert (refused.value.param, "3" in refused.value.message) == ("pins[0].version", True)
    check_announced(route, {"1", "2", "3"})
    with pytest.raises(RequestError) as refused:
        check_announced(route, {"1", "2", "3", "canary"})
    assert refused.value.param == "labels.canary"


def test_a_record_reads_back_as_it_was_written() -> None:
    assert decode_route(encode_route(made())) == made()


def test_what_a_newer_version_adds_to_a_record_is_passed_over() -> None:
    document = json.loads(encode_route(made()))
    document |= {"mirrors": [1], "sticky": {**document["sticky"], "ttl_s": 5}}
    document["pins"][0]["note"] = "for the audit"
    document["shadow"] = [{"version": "2", "rate": 0.05, "max_rows": 5}]
    route = decode_route(json.dumps(document).encode())
    assert route == msgspec.structs.replace(made(), shadow=(Shadow("2", 0.05),))


@pytest.mark.parametrize(
    "change",
    [
        {"model": "No"},
        {"revision": 0},
        {"revision": 2**31},  # more than a job's row can say
        {"versions": {"1": 1}},
        {"salt": "a\n"},
        {"default": ""},
        {"updated_at": 5},
    ],
)
def test_a_record_that_breaks_a_rule_is_no_route(change: Any) -> None:
    document = json.loads(encode_route(made())) | change
    with pytest.raises((RequestError, msgspec.ValidationError)):
        decode_route(json.dumps(document).encode())
