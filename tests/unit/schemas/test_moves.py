"""Which jobs go to another version than the one that they were admitted for."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import RequestError
from schemas.moves import MAX_TAKEN_BACK, moved_to, taken_back
from schemas.route_documents import WantedRoute, decode_route, encode_route, read_route
from schemas.routes import COHORTS, WHOLE, Choice, Route, by_share
from stores.routes import Author, RouteRevision, next_revision

CANARIED: Mapping[str, int] = {"1": 9_500, "2": 500}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LABELS = {"stable": "1", "canary": "2"}


def route(versions: Mapping[str, int] = CANARIED, revision: int = 1, **more: Any) -> Route:
    return Route(
        model="digits",
        revision=revision,
        versions=dict(versions),
        default="1",
        salt="digits",
        updated_at=NOON,
        updated_by="test",
        **more,
    )


def test_a_canary_that_loses_its_share_is_taken_back() -> None:
    assert taken_back(route(labels=LABELS), {"1": WHOLE}) == ("2",)


def test_a_version_that_is_replaced_finishes_what_waits_for_it() -> None:
    assert taken_back(route({"1": WHOLE}, labels={"stable": "1"}), {"2": WHOLE}) == ()
    assert taken_back(route(labels=LABELS), {"2": WHOLE}) == (), "the canary has taken over"


def test_any_version_without_a_share_is_taken_back_where_that_is_asked_for() -> None:
    assert taken_back(route({"1": 5_000, "2": 5_000}), {"1": WHOLE}, ["2"]) == ("2",)


def test_what_was_taken_back_stays_so_until_it_has_a_share_again() -> None:
    before = route({"1": WHOLE}, labels={"stable": "1"}, taken_back=("2", "3"))
    assert taken_back(before, {"1": WHOLE}) == ("2", "3")
    assert taken_back(before, {"1": 9_000, "3": 1_000}) == ("2",)


def test_of_very_many_the_last_ones_are_kept() -> None:
    before = route({"1": WHOLE}, taken_back=tuple(f"old-{number}" for number in range(MAX_TAKEN_BACK)))
    kept = taken_back(before, {"1": WHOLE}, ["new"])
    assert (len(kept), kept[-1], "old-0" in kept) == (MAX_TAKEN_BACK, "new", False)


def test_nothing_is_taken_back_by_the_first_route() -> None:
    assert taken_back(None, {"1": WHOLE}) == ()


BACK = route({"1": WHOLE}, 2, labels={"stable": "1"}, taken_back=("2",))


def test_a_job_that_waits_for_a_version_that_was_taken_back_gets_what_its_cohort_gets_now() -> None:
    assert moved_to(BACK, "2", 1, 7) == Choice("1", "stable", 2, 7)


@pytest.mark.parametrize(
    ("version", "revision", "cohort"),
    [("2", None, None), ("2", 1, None), ("2", 2, 7), ("2", 3, 7), ("1", 1, 7)],
    ids=["named by the client", "pinned", "by this route", "by a newer route", "of a version that has a share"],
)
def test_all_others_stay(version: str, revision: int | None, cohort: int | None) -> None:
    assert moved_to(BACK, version, revision, cohort) is None


def test_what_comes_to_the_next_canary_is_rescued_there_as_well() -> None:
    again = route({"1": 9_000, "3": 1_000}, 3, labels={"stable": "1", "canary": "3"}, rescue=True, taken_back=("2",))
    assert moved_to(again, "2", 1, 95) == Choice("3", "canary", 3, 95, rescue_to="1")


@given(st.lists(st.integers(0, COHORTS), min_size=3, max_size=3), st.integers(0, COHORTS - 1))
def test_a_cohort_that_one_version_has_whole_gets_that_version(parts: list[int], cohort: int) -> None:
    first, second = sorted(parts)[:2]
    shares = {"1": first * 100, "2": (second - first) * 100, "3": WHOLE - second * 100}
    now = route(shares, 2, taken_back=("4",))
    moved = moved_to(now, "4", 1, cohort)
    assert moved is not None
    assert {by_share(now, place).version for place in range(cohort * 100, cohort * 100 + 100)} == {moved.version}


@pytest.mark.parametrize("content", [read_route(b'{"versions": {"1": 10000}}'), route({"1": WHOLE})])
def test_each_new_revision_takes_back_the_canary_before_and_says_so_in_its_record(content: WantedRoute | Route) -> None:
    before = route(labels=LABELS)
    newest = RouteRevision(model="digits", revision=1, route=before, updated_at=NOON, updated_by="test")
    written = next_revision("digits", content, newest, Author("me"), NOON).route
    assert written is not None
    assert written.taken_back == ("2",)
    assert decode_route(encode_route(written)) == written
    assert msgspec.json.decode(encode_route(written))["taken_back"] == ["2"]


@pytest.mark.parametrize(
    ("document", "param"),
    [
        (b'{"versions": {"1": 10000}, "taken_back": ["2", "No Version"]}', "taken_back[1]"),
        (b'{"versions": {"1": 10000}, "taken_back": "2"}', "taken_back"),
    ],
    ids=["no version", "no list"],
)
def test_what_cannot_be_taken_back_is_refused(document: bytes, param: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_route(document)
    assert refused.value.param == param
