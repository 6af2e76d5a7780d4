from datetime import UTC, datetime, timedelta

import pytest

from schemas.catalog import CatalogEntry
from schemas.errors import ModelNotFound
from schemas.signature import Signature
from schemas.versions import CatalogSnapshot, default_version, natural_order

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def entry(version: str, *, model: str = "digits", is_default: bool = False, age_s: float = 0) -> CatalogEntry:
    return CatalogEntry(
        model=model,
        version=version,
        signature=Signature((), ()),
        platform="onnxruntime_onnx",
        max_batch_size=8,
        is_default=is_default,
        announced_at=NOW - timedelta(seconds=age_s),
    )


def models(*entries: CatalogEntry) -> dict[str, dict[str, CatalogEntry]]:
    found: dict[str, dict[str, CatalogEntry]] = {}
    for each in entries:
        found.setdefault(each.model, {})[each.version] = each
    return found


@pytest.mark.parametrize(
    ("lower", "higher"),
    [("9", "10"), ("1.9", "1.10"), ("a9", "a10"), ("1", "1.0"), ("2", "a"), ("1.0", "1.0-rc1"), ("01", "1")],
)
def test_versions_stand_in_natural_order(lower: str, higher: str) -> None:
    assert natural_order(lower) < natural_order(higher)


def test_a_pinned_version_is_taken_although_another_is_default() -> None:
    known = models(entry("1"), entry("2", is_default=True))
    assert CatalogSnapshot(known).choose("digits", "1").version == "1"


def test_the_version_marked_as_default_is_taken_where_none_is_pinned() -> None:
    known = models(entry("1", is_default=True), entry("2"))
    assert CatalogSnapshot(known).choose("digits", None).version == "1"


def test_the_highest_version_is_taken_where_none_is_marked() -> None:
    assert CatalogSnapshot(models(entry("9"), entry("10"), entry("2"))).choose("digits", None).version == "10"


def test_the_latest_announcement_decides_between_two_defaults() -> None:
    known = models(entry("1", is_default=True), entry("2", is_default=True, age_s=60))
    assert default_version(known["digits"]).version == "1"


def test_an_unknown_model_is_answered_with_those_there_are() -> None:
    with pytest.raises(ModelNotFound, match="there are digits, other") as refused:
        CatalogSnapshot(models(entry("1"), entry("1", model="other"))).choose("nope", None)
    assert refused.value.param == "model"


def test_an_unknown_version_is_answered_with_those_there_are() -> None:
    with pytest.raises(ModelNotFound, match="it has 2, 10") as refused:
        CatalogSnapshot(models(entry("10"), entry("2"))).choose("digits", "3")
    assert refused.value.param == "version"


def test_an_empty_catalog_says_so() -> None:
    with pytest.raises(ModelNotFound, match="no worker has announced any model yet"):
        CatalogSnapshot().choose("digits", None)


def test_long_names_and_long_lists_are_cut() -> None:
    known = models(*(entry("1", model=f"m{number:03}") for number in range(50)))
    with pytest.raises(ModelNotFound, match="and 30 more") as refused:
        CatalogSnapshot(known).choose("x" * 10_000, None)
    assert len(refused.value.message) < 400


def test_a_snapshot_never_changes() -> None:
    first = CatalogSnapshot().with_entry(entry("1"))
    second = first.with_entry(entry("2"))
    third = second.without("digits", "2")
    assert [first.choose("digits", None).version, second.choose("digits", None).version] == ["1", "2"]
    assert list(third.models["digits"]) == ["1"]
    assert third.without("digits", "1").models == {}
    assert third.without("never", "seen").models == third.models
