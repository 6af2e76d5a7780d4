"""Which version a route gives a job: shares that are kept, keys that stay, and the same number in every language."""

import math
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.routes import COHORTS, WHOLE, Pin, Route, bucket, choose, version_at
from tests.hash_vectors import vectors

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# Of a fair split, one run in a million lies further out than this many standard deviations.
SIGMAS = 4.9

names = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,7}", fullmatch=True)
salts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=64)
keys = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=255)


def route(versions: dict[str, int], **fields: Any) -> Route:
    given: dict[str, Any] = {"default": min(versions), "salt": "m", "labels": {}}
    return Route(model="m", revision=7, versions=versions, updated_at=NOW, updated_by="test", **{**given, **fields})


@st.composite
def shares(draw: st.DrawFn, least: int = 1, most: int = 6) -> dict[str, int]:
    """Versions whose shares are the whole in all, some of them perhaps none."""
    versions = draw(st.lists(names, min_size=least, max_size=most, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), min_size=len(versions) - 1, max_size=len(versions) - 1)))
    return {version: high - low for version, low, high in zip(versions, [0, *cuts], [*cuts, WHOLE], strict=True)}


@given(shares(), salts)
def test_each_version_gets_its_share_of_many_keys(versions: dict[str, int], salt: str) -> None:
    jobs = 400
    split = route(versions, salt=salt)
    got = Counter(choose(split, "t", f"key-{number}", "").version for number in range(jobs))
    for version, share in versions.items():
        p = share / WHOLE
        assert abs(got[version] - jobs * p) <= SIGMAS * math.sqrt(jobs * p * (1 - p)) + 1, version


def test_places_are_spread_evenly() -> None:
    """Chi-squared over the cohorts: with 99 degrees of freedom, one sound hash in a million lies above 182."""
    keys = 20_000
    got = Counter(bucket("salt", f"user-{number}") * COHORTS // WHOLE for number in range(keys))
    expected = keys / COHORTS
    assert sum((got[cohort] - expected) ** 2 / expected for cohort in range(COHORTS)) < 182


@given(shares(), salts, keys)
def test_a_key_stays_with_its_version_whatever_the_job(versions: dict[str, int], salt: str, key: str) -> None:
    split = route(versions, salt=salt)
    first = choose(split, "t", key, "job_1")
    again = choose(msgspec.json.decode(msgspec.json.encode(split), type=Route), "other", key, "job_2")
    assert again == first
    assert versions[first.version] > 0
    assert first.cohort == bucket(salt, key) * COHORTS // WHOLE


@given(shares(), keys)
def test_without_a_key_the_jobs_id_decides(versions: dict[str, int], job_id: str) -> None:
    split = route(versions)
    assert choose(split, "t", None, job_id) == choose(split, "t", job_id, "another")


@given(st.lists(names, min_size=2, max_size=2, unique=True), st.integers(0, WHOLE), st.integers(0, WHOLE), keys)
def test_of_two_versions_the_one_that_grows_keeps_every_key(
    versions: list[str], share: int, later: int, key: str
) -> None:
    first, second = versions
    before = choose(route({first: share, second: WHOLE - share}), "t", key, "").version
    after = choose(route({first: later, second: WHOLE - later}), "t", key, "").version
    grows = first if later >= share else second
    if before == grows:
        assert after == grows


@given(shares(least=3), st.data())
def test_of_more_versions_only_the_borders_move(versions: dict[str, int], data: st.DataObject) -> None:
    """As docs/routing.md says: a key changes only if a border between two versions moves over its place."""
    one, other = data.draw(st.lists(st.sampled_from(sorted(versions)), min_size=2, max_size=2, unique=True))
    part = data.draw(st.integers(0, versions[one]))
    later = {**versions, one: versions[one] - part, other: versions[other] + part}
    before, after = route(versions), route(later)
    low, high = sorted((one, other))
    for place in range(0, WHOLE, 397):
        was, now = version_at(before, place), version_at(after, place)
        if was < low or was > high:  # it stands outside both
            assert now == was
        if part == 0:
            assert now == was


@given(shares())
def test_shares_lie_side_by_side_in_the_order_of_names_and_cover_the_whole(versions: dict[str, int]) -> None:
    split, low = route(versions), 0
    for version in sorted(versions):
        high = low + versions[version]
        if low < high:
            assert (version_at(split, low), version_at(split, high - 1)) == (version, version)
        low = high
    assert low == WHOLE


@pytest.mark.parametrize(("salt", "key", "place"), vectors(), ids=lambda value: ascii(value)[:20])
def test_the_hash_gives_what_the_page_tells(salt: str, key: str, place: int) -> None:
    assert bucket(salt, key) == place


def test_bytes_that_are_no_text_count_as_they_are() -> None:
    assert bucket("m", b"\xff\x00".decode("utf-8", "surrogateescape")) == bucket("m", "\udcff\0")
    assert bucket("m", "\udcff") != bucket("m", "\udcfe")


def test_a_pin_of_a_key_goes_before_one_of_a_tenant_and_both_before_the_shares() -> None:
    pins = (Pin("3", tenant="acme"), Pin("2", key="alice"))
    split = route({"1": WHOLE}, pins=pins, labels={"canary": "2"}, rescue=True)
    assert choose(split, "acme", "alice", "job")[:4] == ("2", "canary", 7, None)
    assert choose(split, "acme", "bob", "job")[:4] == ("3", None, 7, None)
    assert choose(split, "acme", None, "alice")[:4] == ("3", None, 7, None)
    assert choose(split, "other", "alice", "job").version == "2"
    shared = choose(split, "other", None, "alice")
    assert (shared.version, shared.cohort) == ("1", bucket("m", "alice") // 100)


def test_only_the_canary_is_rescued_and_only_where_the_route_says_so() -> None:
    labels = {"stable": "1", "canary": "2"}
    rescued = route({"2": WHOLE}, default="1", labels=labels, rescue=True)
    assert choose(rescued, "t", None, "job").rescue_to == "1"
    assert choose(route({"1": WHOLE}, labels=labels, rescue=True), "t", None, "job").rescue_to is None
    assert choose(route({"2": WHOLE}, default="1", labels=labels), "t", None, "job").rescue_to is None
    assert choose(route({"2": WHOLE}, default="2", labels=labels, rescue=True), "t", None, "job").rescue_to is None


def test_the_label_that_is_stamped_is_stable_or_canary_before_others() -> None:
    labels = {"blue": "1", "stable": "1", "zeta": "2", "alpha": "2", "canary": "3", "aaa": "3"}
    assert route({"1": WHOLE}, labels=labels).variants == {"1": "stable", "2": "alpha", "3": "canary"}
