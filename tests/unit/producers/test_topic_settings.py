"""What a topic must have, and what is changed where it exists already."""

import pytest

from producers.topic_settings import BROKERS, TIMESTAMPS, Other, different, too_low
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


@pytest.mark.parametrize(("found", "raised"), [("CreateTime", {TIMESTAMPS: BROKERS}), (BROKERS, {})])
def test_a_topic_in_which_clocks_are_compared_gets_the_brokers_time(found: str, raised: dict[str, str]) -> None:
    assert too_low({TIMESTAMPS: BROKERS}, {TIMESTAMPS: (found, True)}) == raised
    assert too_low({}, {TIMESTAMPS: (found, False)}) == {}


@pytest.mark.parametrize(
    ("planned", "found", "differs"),
    [
        ({"retention.ms": "10"}, "10", False),
        ({"retention.ms": "10"}, "11", True),
        ({"min.cleanable.dirty.ratio": "0.1"}, "0.10", False),
        ({"cleanup.policy": "compact,delete"}, "delete,compact", False),
        ({"cleanup.policy": "compact"}, "delete", True),
        ({"max.message.bytes": "2000"}, "1000", False),
    ],
)
def test_what_keeps_records_for_another_time_is_told_and_not_what_is_raised(
    planned: dict[str, str], found: str, differs: bool
) -> None:
    ((name, value),) = planned.items()
    assert different(planned, {name: (found, True)}) == ({name: Other(found, value)} if differs else {})
