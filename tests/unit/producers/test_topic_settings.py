"""What a topic must have, and what is changed where it exists already."""

import pytest

from producers.topic_settings import too_low
from producers.topics import TopicPlan

PLAN = TopicPlan("jobs", 12, {"retention.ms": "1", "max.message.bytes": "2000"})


@pytest.mark.parametrize(("replication", "in_sync"), [(1, "1"), (2, "2"), (3, "2"), (5, "2")])
def test_a_record_stands_on_two_brokers_before_it_is_acknowledged_where_there_are_two(
    replication: int, in_sync: str
) -> None:
    assert PLAN.with_copies(replication).config == {**PLAN.config, "min.insync.replicas": in_sync}


@pytest.mark.parametrize(
    ("found", "raised"),
    [
        ({"max.message.bytes": ("1000", False), "min.insync.replicas": ("2", False)}, {"max.message.bytes": "2000"}),
        ({"max.message.bytes": ("1000", True), "min.insync.replicas": ("2", True)}, {"max.message.bytes": "2000"}),
        ({"max.message.bytes": ("3000", True), "min.insync.replicas": ("3", True)}, {}),
        ({"max.message.bytes": ("2000", True), "min.insync.replicas": ("1", False)}, {"min.insync.replicas": "2"}),
        ({"max.message.bytes": ("2000", True), "min.insync.replicas": ("1", True)}, {}),
        ({"retention.ms": ("0", True)}, {}),
    ],
    ids=["the broker's size", "its own size", "more than enough", "the broker's copies", "chosen copies", "not told"],
)
def test_only_what_is_too_low_is_raised(found: dict[str, tuple[str, bool]], raised: dict[str, str]) -> None:
    assert too_low(PLAN.with_copies(3).config, found) == raised
