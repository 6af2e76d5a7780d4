"""The catalog as its topic tells it."""

from datetime import UTC, datetime

import pytest

from producers.catalog import Catalog
from schemas.catalog import CatalogEntry, encode_entry
from schemas.errors import ModelNotFound
from schemas.signature import Signature, TensorSpec

SIGNATURE = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=(TensorSpec("y", "FP32", (-1,)),))


def entry(version: str) -> CatalogEntry:
    return CatalogEntry(
        model="digits",
        version=version,
        signature=SIGNATURE,
        platform="onnxruntime_onnx",
        max_batch_size=8,
        announced_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def catalog_of(*versions: str) -> Catalog:
    catalog = Catalog()
    for version in versions:
        catalog.apply(b"digits/" + version.encode(), encode_entry(entry(version)))
    return catalog


def test_an_announced_version_is_there() -> None:
    assert catalog_of("1", "2").snapshot.choose("digits", "1") == entry("1")


def test_a_tombstone_takes_a_version_back() -> None:
    catalog = catalog_of("1", "2")
    catalog.apply(b"digits/2", None)
    assert catalog.snapshot.choose("digits", None).version == "1"

    catalog.apply(b"digits/1", None)
    with pytest.raises(ModelNotFound):
        catalog.snapshot.choose("digits", None)


def test_of_a_version_that_left_it_is_still_known_what_its_jobs_look_like() -> None:
    catalog = catalog_of("1", "2")
    catalog.apply(b"digits/2", None)
    catalog.apply(b"digits/3", None)
    assert [catalog.signature("digits", version) for version in "123"] == [SIGNATURE, SIGNATURE, None]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not json",
        b"[]",
        b'{"model": "digits"}',
        b"\xff\xfe",
        encode_entry(entry("2")).replace(b'"digits"', b'"No Name"'),
        b'{"metrics": {"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
)
def test_a_record_that_is_no_entry_keeps_what_was_there(value: bytes) -> None:
    catalog = catalog_of("1")
    catalog.apply(b"digits/1", value)
    assert catalog.snapshot.choose("digits", "1") == entry("1")


@pytest.mark.parametrize("key", [b"", b"digits", b"digits/", b"\xff/\xff", b"unknown/1", b"digits/7"])
def test_a_tombstone_for_nothing_takes_nothing_back(key: bytes) -> None:
    catalog = catalog_of("1")
    catalog.apply(key, None)
    assert catalog.snapshot.choose("digits", "1") == entry("1")


def test_a_reader_keeps_the_snapshot_it_took() -> None:
    catalog = catalog_of("1")
    taken = catalog.snapshot
    catalog.apply(b"digits/1", None)
    assert taken.choose("digits", "1") == entry("1")
