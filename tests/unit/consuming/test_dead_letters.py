"""What a record that cannot be worked on becomes, and how replacements are published."""

from collections.abc import Sequence

import pytest

from producers.memory import MemoryLog
from schemas.errors import PayloadTooLarge, QueueUnavailable, Undecodable
from schemas.records import OutRecord
from workers.consuming.protocols import Record
from workers.dead_letters import dead_letter, dead_letter_without_payload
from workers.memory import MemoryConsumer, MemoryGroup
from workers.replacements import Replacement, burial, publish_replacements

RECORD = Record("things", 3, 42, 1, b"key", b"value", (("a", b"1"), ("a", b"2")), 0)
ERROR = Undecodable("it has no name")


def test_a_dead_letter_is_the_record_as_it_was_and_why_it_is_there() -> None:
    letter = dead_letter(RECORD, "readers", ERROR, deliveries=3)
    assert (letter.topic, letter.key, letter.value) == ("dlq.things", b"key", b"value")
    assert letter.headers == [
        ("a", b"1"),
        ("a", b"2"),
        ("__dlq.errors.topic", b"things"),
        ("__dlq.errors.partition", b"3"),
        ("__dlq.errors.offset", b"42"),
        ("__dlq.errors.group", b"readers"),
        ("__dlq.errors.delivery.count", b"3"),
        ("__dlq.errors.message", b"it has no name"),
        ("ce_errorcode", b"undecodable"),
    ]


def test_without_its_payload_it_still_says_where_the_record_stands() -> None:
    letter = dead_letter_without_payload(RECORD, "readers", ERROR)
    assert (letter.key, letter.value) == (None, None)
    assert dict(letter.headers)["__dlq.errors.offset"] == b"42"


@pytest.mark.parametrize("message", ["x" * 100_000, "\ud800" * 5000, "ä"])
def test_any_reason_makes_a_header_of_bounded_size(message: str) -> None:
    raw = dict(dead_letter(RECORD, "readers", Undecodable(message)).headers)["__dlq.errors.message"]
    assert 0 < len(raw) <= 12_000
    raw.decode()


async def fetched(log: MemoryLog, member: MemoryConsumer) -> Record:
    await log.publish(OutRecord("things", None, b"value", [], 0))
    (record,) = await member.fetch(1, timeout_s=1)
    return record


async def test_a_replacement_is_tried_until_it_is_acknowledged() -> None:
    log = MemoryLog()
    async with MemoryGroup(log, ["things"]).member() as member:
        record = await fetched(log, member)
        log.fail_next = [QueueUnavailable("away"), QueueUnavailable("away")]
        await publish_replacements(member, log, [burial(record, "readers", ERROR)])
        assert member.open_count == 0
    assert [out.value for out in log.records("dlq.things")] == [b"value"]


async def test_what_to_publish_instead_is_asked_with_the_reason_and_the_time_tried() -> None:
    log = MemoryLog()
    asked: list[tuple[str, bool]] = []

    def instead(why: Exception, tried_s: float) -> Sequence[OutRecord]:
        asked.append((str(why), tried_s > 0))
        return [OutRecord("elsewhere", None, b"", [])] if isinstance(why, PayloadTooLarge) else []

    async with MemoryGroup(log, ["things"]).member() as member:
        record = await fetched(log, member)
        log.fail_next = [QueueUnavailable("away"), PayloadTooLarge("large")]
        await publish_replacements(member, log, [Replacement(record, OutRecord("there", None, b"", []), instead)])

    assert asked == [("away", True), ("large", True)]
    assert (len(log.records("there")), len(log.records("elsewhere"))) == (0, 1)


async def test_nobody_cares_for_a_record_whose_partition_is_lost() -> None:
    log = MemoryLog()
    group = MemoryGroup(log, ["things"])
    async with group.member() as member:
        record = await fetched(log, member)
        member.lose_all()
        log.fail_next = [QueueUnavailable("away")]
        await publish_replacements(member, log, [burial(record, "readers", ERROR)])
    assert log.records("dlq.things") == []
    assert group.committed == {}


async def test_replacing_nothing_is_nothing() -> None:
    log = MemoryLog()
    async with MemoryGroup(log, ["things"]).member() as member:
        await publish_replacements(member, log, [])
