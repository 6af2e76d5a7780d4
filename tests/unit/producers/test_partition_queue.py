"""Which records a partition takes while its broker may be away."""

from producers.partition_queue import Member, PartitionQueue, PublishCall, Unacknowledged
from schemas.errors import QueueUnavailable
from schemas.records import OutRecord


def member() -> Member:
    call = PublishCall(1, until_s=5.0, unacknowledged=Unacknowledged())
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
