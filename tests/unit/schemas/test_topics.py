"""Names of topics and groups, and the catalog's records."""

from datetime import UTC, datetime

import msgspec
import pytest

from schemas.catalog import CatalogEntry, decode_entry, encode_entry, parse_key
from schemas.signature import ImageSpec, Signature, TensorSpec
from schemas.topics import Lane, LaneClass, Topics

LANE = Lane("digits", "2.1", LaneClass.LIVE)


def test_every_name_begins_with_the_prefix_and_is_joined_with_dots() -> None:
    topics = Topics("acme.prod")
    assert topics.requests == "acme.prod.requests.v1"
    assert topics.results == "acme.prod.results.v1"
    assert topics.catalog == "acme.prod.catalog.v1"
    assert topics.lane(LANE) == "acme.prod.lane.digits.2.1.live.v1"
    assert topics.lane_group(LANE) == "acme.prod.digits.2.1.live"
    assert (topics.router_group, topics.sink_group) == ("acme.prod.router", "acme.prod.sink")
    assert (topics.retry(2), topics.retry_group(2)) == ("acme.prod.retry.2.v1", "acme.prod.retry.2")
    assert topics.letter_marks == "acme.prod.dlq-marks.v1"
    assert Topics.dead_letter(topics.requests) == "dlq.acme.prod.requests.v1"


def test_the_longest_names_make_a_topic_that_kafka_takes() -> None:
    longest = Topics("p" * 64).lane(Lane("m" * 64, "v" * 32, LaneClass.LIVE))
    assert len(Topics.dead_letter(longest)) <= 249


def test_a_catalog_entry_reads_back_as_it_was_written() -> None:
    entry = CatalogEntry(
        model="digits",
        version="2",
        signature=Signature(
            inputs=(TensorSpec("image", "FP32", (-1, 8, 8), allow_nan=True),),
            outputs=(TensorSpec("label", "INT64", (-1,), labels=("zero", "one")),),
            features=("a", "b"),
            image=ImageSpec("image", 8, 8, mode="L", layout="HW", invert="auto"),
        ),
        platform="onnxruntime_onnx",
        max_batch_size=64,
        is_default=True,
        description="digits",
        metrics={"accuracy": 0.97},
        announced_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert decode_entry(encode_entry(entry)) == entry
    assert parse_key(entry.key) == ("digits", "2")


def test_an_entry_for_what_is_no_model_version_is_refused() -> None:
    entry = CatalogEntry(
        model="No Name",
        version="2",
        signature=Signature(inputs=(), outputs=()),
        platform="x",
        max_batch_size=1,
        announced_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    with pytest.raises(msgspec.ValidationError, match="No Name"):
        decode_entry(encode_entry(entry))
