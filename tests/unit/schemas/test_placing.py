"""Catalog and route together: which version a job gets, whatever it asks for and whoever has announced what."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.catalog import CatalogEntry
from schemas.errors import ModelNotFound, RequestError
from schemas.routes import WHOLE, Pin, Route, Sticky, choose
from schemas.signature import ImageSpec, Signature, TensorSpec
from schemas.versions import CatalogSnapshot, Placed, place, takes_the_same

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN = TensorSpec("x", "FP32", (-1, 2))


def catalog(*versions: str, default: str | None = None, other: str | None = None) -> CatalogSnapshot:
    """`other` takes another input."""
    snapshot = CatalogSnapshot()
    for version in versions:
        inputs = (TensorSpec("x", "FP32", (-1, 3)) if version == other else PLAIN,)
        snapshot = snapshot.with_entry(
            CatalogEntry(
                model="m",
                version=version,
                signature=Signature(inputs=inputs, outputs=(TensorSpec(f"y{version}", "FP32", (-1,)),)),
                platform="onnxruntime_onnx",
                max_batch_size=8,
                is_default=version == default,
                announced_at=NOW,
            )
        )
    return snapshot


def route(versions: dict[str, int], **fields: Any) -> Route:
    given: dict[str, Any] = {"default": "1", "labels": {"stable": "1", "canary": "2"}, "salt": "m"}
    return Route(model="m", revision=7, versions=versions, updated_at=NOW, updated_by="ann", **{**given, **fields})


def placed(known: CatalogSnapshot, split: Route | None, asked: str | None = None, key: str | None = "alice") -> Placed:
    return place(known, split, "m", asked, "default", "job", lambda source: key if source == "sticky_key" else source)


CANARY = route({"1": 0, "2": WHOLE})


def test_without_a_route_the_catalogs_default_is_taken_and_nothing_is_stamped() -> None:
    found = placed(catalog("1", "2", default="1"), None)
    assert (found.entry.version, found.choice[1:], found.passed_over) == ("1", (None, None, None, None), None)


def test_by_a_route_the_share_decides_and_is_stamped() -> None:
    found = placed(catalog("1", "2"), CANARY)
    assert found.entry.version == "2"
    assert found.choice == choose(CANARY, "default", "alice", "job")
    assert (found.choice.variant, found.choice.revision, found.choice.rescue_to) == ("canary", 7, None)


def test_the_key_is_read_from_the_routes_source() -> None:
    split = route({"1": 5000, "2": 5000}, sticky=Sticky("header:x-user"))
    assert placed(catalog("1", "2"), split).choice == choose(split, "default", "header:x-user", "job")


@pytest.mark.parametrize("split", [None, CANARY])
def test_a_version_that_is_asked_for_by_name_is_honored_and_nothing_is_stamped(split: Route | None) -> None:
    found = placed(catalog("1", "2", "3"), split, "3")
    assert (found.entry.version, found.choice) == ("3", ("3", None, None, None, None))


def test_a_label_gives_its_version_and_no_cohort() -> None:
    known = catalog("1", "2", "3")
    split = route({"1": WHOLE}, labels={"canary": "2", "blue": "3"}, rescue=True)
    assert placed(known, split, "canary").choice == ("2", "canary", 7, None, None)
    assert placed(known, split, "blue").choice == ("3", "blue", 7, None, None)
    assert placed(known, split, "stable").choice == ("1", None, 7, None, None)  # unlabeled: the route's default


def test_latest_is_the_highest_version_with_a_route_and_without() -> None:
    known = catalog("9", "10", "2", default="2")
    for split in (None, route({"2": WHOLE}, default="2")):
        found = placed(known, split, "latest")
        assert (found.entry.version, found.choice) == ("10", ("10", None, None, None, None))


def test_without_a_route_stable_is_the_default_and_there_is_no_canary() -> None:
    known = catalog("1", "2", default="1")
    assert placed(known, None, "stable").entry.version == "1"
    for split in (None, route({"1": WHOLE}, labels={})):
        with pytest.raises(ModelNotFound, match="no version 'canary'; it has 1, 2") as refused:
            placed(known, split, "canary")
        assert refused.value.param == "version"


def test_a_version_that_is_named_like_a_label_is_that_version() -> None:
    assert placed(catalog("1", "latest", "canary"), CANARY, "canary").choice == ("canary", None, None, None, None)
    assert placed(catalog("1", "latest", "x"), None, "latest").entry.version == "latest"


def test_a_version_that_nobody_has_announced_is_passed_over_for_the_routes_default_then_the_catalogs() -> None:
    found = placed(catalog("1", "3"), CANARY)
    assert (found.entry.version, found.passed_over) == ("1", "2")
    assert found.choice[:3] == ("1", "stable", 7)
    assert found.choice.cohort == choose(CANARY, "default", "alice", "job").cohort
    found = placed(catalog("3", "4", default="3"), CANARY)
    assert (found.entry.version, found.choice[:3], found.passed_over) == ("3", ("3", None, 7), "2")


def test_stable_is_passed_over_alike_and_a_label_that_was_asked_for_is_not() -> None:
    split = route({"1": WHOLE}, labels={"stable": "8", "canary": "9"})
    assert (found := placed(catalog("1", "2"), split, "stable")).entry.version == "1"
    assert found.passed_over == "8"
    with pytest.raises(ModelNotFound, match="no version '9'"):
        placed(catalog("1", "2"), split, "canary")


@pytest.mark.parametrize("asked", [None, "1", "latest", "stable", "canary"])
@pytest.mark.parametrize("split", [None, CANARY])
def test_a_model_that_nobody_has_announced_is_not_found(split: Route | None, asked: str | None) -> None:
    with pytest.raises(ModelNotFound, match="no worker has announced") as refused:
        placed(CatalogSnapshot(), split, asked)
    assert refused.value.param == "model"


def test_the_default_rescues_the_canarys_jobs_where_it_takes_the_same_input() -> None:
    split = route({"1": 0, "2": WHOLE}, rescue=True)
    assert placed(catalog("1", "2"), split).choice.rescue_to == "1"
    assert placed(catalog("1", "2", other="2"), split).choice.rescue_to is None
    assert placed(catalog("2", "3"), split).choice.rescue_to is None  # nobody has announced version 1
    pinned = route({"1": 0, "2": WHOLE}, rescue=True, pins=(Pin("2", key="alice"),))
    assert placed(catalog("1", "2"), pinned).choice.rescue_to is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"features": ("age", "income")}, {"features": ("income", "age")}),
        ({"image": ImageSpec("x", 8, 8)}, {"image": ImageSpec("x", 8, 8, scale=1.0)}),
    ],
    ids=["columns in another order", "pixels in another scale"],
)
def test_versions_that_make_other_tensors_of_the_same_input_do_not_take_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    first, second = (Signature(inputs=(PLAIN,), outputs=(), **how) for how in (one, other))
    assert takes_the_same(first, first)
    assert not takes_the_same(first, second)


def test_a_key_that_is_refused_refuses_the_job() -> None:
    def too_long(_source: str) -> str | None:
        raise RequestError("too long", param="x-user")

    with pytest.raises(RequestError):
        place(catalog("1", "2"), CANARY, "m", None, "default", "job", too_long)
    place(catalog("1", "2"), CANARY, "m", "2", "default", "job", too_long)  # what is asked for needs no key
