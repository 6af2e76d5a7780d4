"""Which records a partition takes while its broker may be away."""

from producers.partition_queue import Member, PartitionQueue, PublishCall, Unacknowledged
from schemas.errors import QueueUnavailable
from schemas.records import OutRecord


def member(until_s: float = 5.0) -> Member:
    call = PublishCall(1, until_s=until_s, unacknowledged=Unacknowledged())
    return Member(OutRecord("things", None, b"value", []), call, 0)


async def test_after_a_failure_the_next_record_is_taken_though_its_broker_was_turned_to_meanwhile() -> None:
    partition, late, probe, other = PartitionQueue("things", 0), member(), member(), member()
    partition.add(late, now_s=0.0)
    partition.give_up(now_s=5.0)
    assert isinstance(late.call.outcomes[0], QueueUnavailable)

    partition.tried()
    partition.add(probe, now_s=5.0)
    assert not probe.call.ended.done()

    partition.tried()
    partition.add(other, now_s=5.0)
    assert isinstance(other.call.outcomes[0], QueueUnavailable)
    assert not probe.call.ended.done()


def refused(each: Member) -> bool:
    return isinstance(each.call.outcomes[0], QueueUnavailable)


async def test_while_no_connection_comes_about_all_are_refused_together_and_then_all_but_a_probe() -> None:
    partition, first, second, probe, other = (
        PartitionQueue("things", 0),
        member(),
        member(6.0),
        member(11.0),
        member(12.0),
    )
    partition.tried()
    partition.add(first, now_s=0.0)
    partition.add(second, now_s=1.0)
    partition.give_up(now_s=4.9)
    assert not refused(first)
    partition.give_up(now_s=5.0)
    assert refused(first)
    assert refused(second)

    partition.add(probe, now_s=6.0)
    partition.give_up(now_s=6.25)
    partition.add(other, now_s=7.0)
    assert refused(other)
    assert not probe.call.ended.done()


async def test_a_record_that_is_late_behind_others_that_were_sent_is_refused_alone() -> None:
    partition, sent, late, other = PartitionQueue("things", 0), member(), member(), member(6.0)
    partition.add(sent, now_s=0.0)
    partition.take_batch(0, 256 * 1024)
    partition.add(late, now_s=0.0)
    partition.add(other, now_s=1.0)
    partition.sent_at_s = 4.0
    partition.acknowledge()
    partition.give_up(now_s=5.0)
    assert refused(late)
    assert not other.call.ended.done()
