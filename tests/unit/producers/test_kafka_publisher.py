"""Batching, outcomes and bounds of the publisher, over a client that does as it is told."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import cast

import pytest
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    TopicAuthorizationFailedError,
    UnknownError,
)
from aiokafka.protocol.produce import ProduceRequest

import producers.broker_sender
import producers.kafka_publisher
import producers.partition_queue
from producers.broker_sender import BATCH_BYTES, PACE, REQUEST_BYTES, InvalidRecordError
from producers.kafka_publisher import LOOK_AHEAD, TURN_RECORD_BYTES, TURN_RECORDS, KafkaPublisher, partition_of
from producers.partition_queue import QUEUED_AT_MOST_S, UNANSWERED_AT_MOST_S
from producers.topics import DEAD_LETTER_ROOM_BYTES
from runtime.settings import KafkaSettings
from schemas.errors import OutcomeUnknown, PayloadTooLarge, PenstockError, QueueUnavailable, TopicMissing
from schemas.records import OutRecord
from tests.unit.producers.fake_kafka import FakeKafka
from tests.waiting import LoopClock, at_once, eventually, soon

LIMIT = 64 * 1024


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    fake = FakeKafka({"things": 4, "single": 1, "dlq.things": 1})
    monkeypatch.setattr(producers.kafka_publisher, "KafkaClient", lambda **_options: fake)
    return fake


@pytest.fixture
async def publisher(kafka: FakeKafka, loop_clock: LoopClock) -> AsyncIterator[KafkaPublisher]:
    opened = await KafkaPublisher(KafkaSettings(max_record_bytes=LIMIT), max_unacknowledged=10).__aenter__()
    yield opened
    await loop_clock.in_time(opened.__aexit__(None, None, None))


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in the queue outlasts what is tried beside it."""
    monkeypatch.setattr(producers.kafka_publisher, "QUEUED_AT_MOST_S", 60.0)


def record(value: bytes, topic: str = "single", key: bytes | None = None) -> OutRecord:
    return OutRecord(topic, key, value, [])


def anywhere(value: bytes) -> OutRecord:
    return OutRecord("things", b"key", value, [], any_partition=True)


def records(*values: bytes) -> list[OutRecord]:
    return [record(value) for value in values]


async def begun(publisher: KafkaPublisher, *values: bytes) -> "asyncio.Task[Sequence[PenstockError | None]]":
    """A publish that has handed its records over and waits."""
    before = publisher._unacknowledged.count
    task = asyncio.create_task(_publish(publisher, values))
    await eventually(lambda: publisher._unacknowledged.count == before + len(values))
    return task


async def unanswered(
    kafka: FakeKafka, publisher: KafkaPublisher, *values: bytes
) -> "asyncio.Task[Sequence[PenstockError | None]]":
    """A publish whose request is out, and is not answered."""
    task = await begun(publisher, *values)
    await eventually(lambda: kafka.held)
    return task


async def _publish(publisher: KafkaPublisher, values: Sequence[bytes]) -> Sequence[PenstockError | None]:
    return await publisher.publish_all(records(*values))


async def test_what_arrives_while_a_batch_is_on_its_way_makes_up_the_next(
    kafka: FakeKafka, publisher: KafkaPublisher
) -> None:
    kafka.hold = True
    first = await unanswered(kafka, publisher, b"1")
    later = [await begun(publisher, b"2"), await begun(publisher, b"3", b"4")]
    kafka.acknowledge()
    await eventually(lambda: kafka.held)
    kafka.acknowledge()

    assert [await task for task in (first, *later)] == [[None], [None], [None, None]]
    assert [values for _, _, values in kafka.sent] == [[b"1"], [b"2", b"3", b"4"]]


async def answered_late(kafka: FakeKafka, publisher: KafkaPublisher, clock: LoopClock) -> None:
    """A request was, by a second."""
    kafka.hold = True
    first = await unanswered(kafka, publisher, b"1")
    kafka.hold = False
    clock.pass_s(1.0)
    kafka.acknowledge()
    assert await first == [None]


async def test_who_is_paced_lets_more_gather_the_later_a_broker_answered(
    kafka: FakeKafka, loop_clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producers.broker_sender, "LONGEST_PACE_S", 60.0)
    async with KafkaPublisher(KafkaSettings(), paced=True) as publisher:
        await answered_late(kafka, publisher, loop_clock)
        later = [await begun(publisher, b"2"), await begun(publisher, b"3")]
        assert len(kafka.requests) == 1
        loop_clock.pass_s(PACE - 1)
        assert [await soon(task) for task in later] == [[None], [None]]
    assert [values for _, _, values in kafka.sent] == [[b"1"], [b"2", b"3"]]


async def test_who_is_not_paced_sends_at_once_however_late_a_broker_answered(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producers.broker_sender, "LONGEST_PACE_S", 600.0)
    monkeypatch.setattr(producers.broker_sender, "PACE", 600)
    await answered_late(kafka, publisher, loop_clock)
    assert await soon(_publish(publisher, [b"2"])) == [None]


async def test_a_full_batch_goes_and_the_rest_follows(kafka: FakeKafka) -> None:
    async with KafkaPublisher(KafkaSettings()) as publisher:
        assert not any(await publisher.publish_all(records(*(b"%d" % n * 20_000 for n in range(10, 24)))))
    assert [len(values) for _, _, values in kafka.sent] == [6, 6, 2]


async def test_every_partition_has_a_batch_of_its_own_on_its_way(kafka: FakeKafka, publisher: KafkaPublisher) -> None:
    keys = [b"%d" % n for n in range(40)]
    await publisher.publish_all([record(key, "things", key) for key in keys])

    assert {(topic, partition) for topic, partition, _ in kafka.sent} == {("things", n) for n in range(4)}
    for _, partition, values in kafka.sent:
        assert {partition_of(value or b"", 4) for value in values} == {partition}


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (NotLeaderForPartitionError(), OutcomeUnknown),
        (TopicAuthorizationFailedError(), QueueUnavailable),
        (UnknownError(), OutcomeUnknown),
        (KafkaError("of the client"), OutcomeUnknown),
        (ValueError("a fault of the client"), OutcomeUnknown),
    ],
)
async def test_a_failed_batch_says_whether_it_may_have_been_written(
    kafka: FakeKafka,
    publisher: KafkaPublisher,
    loop_clock: LoopClock,
    failure: Exception,
    expected: type[PenstockError],
) -> None:
    kafka.failure = failure

    outcomes = await loop_clock.in_time(publisher.publish_all(records(b"1", b"2")))

    assert [type(outcome) for outcome in outcomes] == [expected, expected]
    assert outcomes[0] is not None
    assert type(outcomes[0].__cause__) is type(failure)
    kafka.failure = None
    assert not any(await loop_clock.in_time(publisher.publish_all(records(b"3")))), "the next batch goes its way"


async def test_a_batch_that_another_broker_leads_by_now_is_sent_again_under_the_same_calls(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.failures += [NotLeaderForPartitionError(), NotLeaderForPartitionError()]
    assert not any(await loop_clock.in_time(publisher.publish_all(records(b"1", b"2"))))
    assert [values for _, _, values in kafka.sent] == [[b"1", b"2"]]


@pytest.mark.parametrize("lost", [RuntimeError("the handler is closed"), TimeoutError()])
async def test_a_batch_whose_connection_was_lost_is_sent_again(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock, lost: Exception
) -> None:
    kafka.failures.append(lost)
    assert not any(await loop_clock.in_time(publisher.publish_all(records(b"1", b"2"))))
    assert [values for _, _, values in kafka.sent] == [[b"1", b"2"]]


async def test_what_waits_behind_a_batch_that_is_sent_again_comes_after_it(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.hold = True
    first = await unanswered(kafka, publisher, b"1")
    later = await begun(publisher, b"2")
    kafka.hold = False
    kafka.acknowledge(NotLeaderForPartitionError())
    assert await loop_clock.in_time(first) == await loop_clock.in_time(later) == [None]
    assert [values for _, _, values in kafka.sent][-2:] == [[b"1"], [b"2"]]


async def test_a_batch_that_was_given_up_between_two_attempts_leaves_its_partition_free(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.hold = True
    task = await unanswered(kafka, publisher, b"1")
    kafka.connects = kafka.hold = False
    kafka.acknowledge(NotLeaderForPartitionError())
    assert [type(outcome) for outcome in await loop_clock.in_time(task)] == [OutcomeUnknown]
    kafka.connects = True
    await loop_clock.in_time(eventually(lambda: not publisher._partitions["single", 0].offered))
    assert not any(await publisher.publish_all(records(b"2")))


async def test_a_request_takes_so_many_batches_and_the_next_one_the_rest(kafka: FakeKafka) -> None:
    kafka.on_broker["wide"] = 8
    large = [record(b"x" * BATCH_BYTES, "wide")._replace(partition=number) for number in range(8)]
    async with KafkaPublisher(KafkaSettings()) as publisher:
        assert not any(await publisher.publish_all(large))
    assert kafka.requests == [(0, REQUEST_BYTES // BATCH_BYTES)] * 2


async def test_a_refusal_after_an_attempt_without_answer_leaves_it_unknown(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.failures += [NotLeaderForPartitionError(), TopicAuthorizationFailedError()]
    (outcome,) = await loop_clock.in_time(publisher.publish_all(records(b"1")))
    assert isinstance(outcome, OutcomeUnknown)


async def test_without_a_connection_nothing_is_written_and_what_comes_after_is_refused_at_once(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock, patient: None
) -> None:
    kafka.connects = False
    (outcome,) = await loop_clock.in_time(publisher.publish_all(records(b"1")))
    assert type(outcome) is QueueUnavailable

    probe = await begun(publisher, b"2")
    await eventually(lambda: publisher._partitions["single", 0].refuses(0))
    (outcome,) = await at_once(publisher.publish_all(records(b"3")))
    assert type(outcome) is QueueUnavailable

    kafka.connects = True
    assert await loop_clock.in_time(probe) == [None]
    assert not any(await publisher.publish_all(records(b"4")))
    assert [values for _, _, values in kafka.sent] == [[b"2"], [b"4"]]


async def test_a_partition_without_a_leader_is_waited_for(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.cluster.leaderless = True
    task = await begun(publisher, b"1")
    await loop_clock.in_time(eventually(lambda: kafka.updates > 2))
    kafka.cluster.leaderless = False
    assert await loop_clock.in_time(task) == [None]


async def test_all_partitions_that_wait_for_a_broker_go_in_one_request(
    kafka: FakeKafka, publisher: KafkaPublisher
) -> None:
    keys = [b"%d" % n for n in range(10)]
    await publisher.publish_all([record(key, "things", key) for key in keys])
    assert kafka.requests == [(0, 4)]


async def test_a_broker_that_does_not_answer_holds_up_no_other(kafka: FakeKafka, publisher: KafkaPublisher) -> None:
    kafka.cluster.brokers = 2
    kafka.holding_brokers = {0}
    held = asyncio.create_task(publisher.publish(record(b"held", "things")._replace(partition=0)))
    await eventually(lambda: kafka.held)
    await publisher.publish(record(b"free", "things")._replace(partition=1))
    kafka.acknowledge()
    await held


async def test_where_any_partition_will_do_what_comes_together_goes_together_and_the_next_elsewhere(
    kafka: FakeKafka, publisher: KafkaPublisher
) -> None:
    for _ in range(4):
        await publisher.publish_all([anywhere(b"%d" % n) for n in range(10)])
    assert [len(values) for _, _, values in kafka.sent] == [10] * 4
    assert {partition for _, partition, _ in kafka.sent} == set(range(4))


async def test_where_any_partition_will_do_no_partition_takes_more_than_its_turn(kafka: FakeKafka) -> None:
    async with KafkaPublisher(KafkaSettings()) as publisher:
        await publisher.publish_all([anywhere(b"%d" % n) for n in range(2 * TURN_RECORDS + 10)])
        await publisher.publish_all([anywhere(b"%d" % n * TURN_RECORD_BYTES) for n in range(30, 90)])
    assert [len(values) for _, _, values in kafka.sent] == [TURN_RECORDS, TURN_RECORDS, 10, 22, 22, 16]


async def test_where_any_partition_will_do_one_of_a_broker_that_is_away_is_passed_over(
    kafka: FakeKafka, publisher: KafkaPublisher
) -> None:
    kafka.cluster.brokers = 2
    kafka.holding_brokers = {0}
    held = asyncio.create_task(publisher.publish(record(b"held", "things")._replace(partition=0)))
    await eventually(lambda: kafka.held)
    for number in range(8):
        await publisher.publish(anywhere(b"%d" % number))
    assert {partition for _, partition, values in kafka.sent if values != [b"held"]} == {1, 3}
    kafka.acknowledge()
    await held


async def test_where_any_partition_will_do_few_of_many_are_looked_at(kafka: FakeKafka) -> None:
    kafka.on_broker["wide"] = 1000
    kafka.hold = True
    async with KafkaPublisher(KafkaSettings()) as publisher:
        wide = [OutRecord("wide", b"key", b"%d" % n, [], any_partition=True) for n in range(TURN_RECORDS)]
        held = asyncio.create_task(publisher.publish_all([*wide, *wide]))
        await eventually(lambda: kafka.held)
        assert len(publisher._partitions) <= 2 * LOOK_AHEAD
        kafka.hold = False
        kafka.acknowledge()
        await held


async def test_a_batch_that_cannot_be_closed_is_told_to_its_callers(
    kafka: FakeKafka, publisher: KafkaPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unclosable:
        def __init__(self, *_: object) -> None: ...

        def append(self, *_: object) -> object:
            return self

        def build(self) -> bytes:
            raise RuntimeError("no compression")

    with monkeypatch.context() as broken:
        broken.setattr(producers.partition_queue, "DefaultRecordBatchBuilder", Unclosable)
        (outcome,) = await publisher.publish_all(records(b"1"))
        assert isinstance(outcome, QueueUnavailable)
    assert not any(await publisher.publish_all(records(b"2")))


async def test_a_failure_after_the_batch_was_sent_is_told_too(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.hold = True
    task = await unanswered(kafka, publisher, b"1")
    kafka.failure = NotLeaderForPartitionError()
    kafka.acknowledge(NotLeaderForPartitionError())
    (outcome,) = await loop_clock.in_time(task)
    assert isinstance(outcome, OutcomeUnknown)


async def test_publish_raises_an_error_of_its_own_with_the_cause_kept(
    kafka: FakeKafka, publisher: KafkaPublisher
) -> None:
    failure = ValueError("a fault of the client")
    kafka.failures.append(failure)
    with pytest.raises(OutcomeUnknown) as caught:
        await publisher.publish(record(b"1"))
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (MessageSizeTooLargeError(), PayloadTooLarge),
        (InvalidRecordError(), QueueUnavailable),
        (InvalidTimestampError(), QueueUnavailable),
    ],
)
async def test_when_the_broker_refuses_a_batch_for_one_records_sake_only_the_culprit_is_refused(
    kafka: FakeKafka, publisher: KafkaPublisher, refusal: KafkaError, expected: type[PenstockError]
) -> None:
    kafka.refuses, kafka.refusal = {b"culprit"}, refusal

    outcomes = await publisher.publish_all(records(b"1", b"culprit", b"2"))

    assert [type(outcome) for outcome in outcomes] == [type(None), expected, type(None)]
    assert [values for _, _, values in kafka.sent] == [[b"1"], [b"2"]], "in order"
    await publisher.publish_all(records(b"3", b"4"))
    assert kafka.sent[-1][-1] == [b"3", b"4"], "together again"


async def test_a_refusal_that_comes_late_makes_no_call_longer(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.refuses, kafka.refusal, kafka.hold = {b"culprit"}, InvalidRecordError(), True
    started_s = loop_clock.now_s()
    task = await unanswered(kafka, publisher, b"1", b"culprit", b"2")
    loop_clock.pass_s(UNANSWERED_AT_MOST_S - 1)
    kafka.acknowledge()
    outcomes = await loop_clock.in_time(task)
    assert [type(outcome) for outcome in outcomes] == [QueueUnavailable] * 3
    assert loop_clock.now_s() - started_s < QUEUED_AT_MOST_S + UNANSWERED_AT_MOST_S
    assert kafka.sent == [], "of what was told as not written"


@pytest.mark.parametrize("versions", [{}, {ProduceRequest.API_KEY: (9, 12)}])
async def test_to_a_broker_that_speaks_no_version_of_ours_nothing_is_written(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock, versions: dict[int, tuple[int, int]]
) -> None:
    kafka.versions = versions
    outcomes = await loop_clock.in_time(publisher.publish_all(records(b"1", b"2")))
    assert [type(outcome) for outcome in outcomes] == [QueueUnavailable] * 2
    assert "IncompatibleBrokerVersion" in str(outcomes[0])


async def test_a_record_above_the_limit_is_refused_unsent(kafka: FakeKafka, publisher: KafkaPublisher) -> None:
    (outcome,) = await publisher.publish_all(records(b"x" * LIMIT))
    assert isinstance(outcome, PayloadTooLarge)
    assert kafka.sent == []


async def test_a_dead_letter_has_room_for_saying_why(kafka: FakeKafka, publisher: KafkaPublisher) -> None:
    outcomes = await publisher.publish_all(
        [record(b"x" * LIMIT, "dlq.things"), record(b"x" * (LIMIT + DEAD_LETTER_ROOM_BYTES), "dlq.things")]
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), PayloadTooLarge]


async def test_a_missing_topic_is_told_from_an_unreachable_kafka(kafka: FakeKafka, publisher: KafkaPublisher) -> None:
    outcomes = await publisher.publish_all([record(b"1", "nowhere"), record(b"2"), record(b"3", "nowhere")])
    assert [type(outcome) for outcome in outcomes] == [TopicMissing, type(None), TopicMissing]

    kafka.reachable = False
    (outcome,) = await publisher.publish_all([record(b"4", "elsewhere")])
    assert type(outcome) is QueueUnavailable


async def test_a_topic_made_later_is_found(kafka: FakeKafka, publisher: KafkaPublisher) -> None:
    assert isinstance((await publisher.publish_all([record(b"1", "late")]))[0], TopicMissing)
    kafka.on_broker["late"] = 1
    assert not any(await publisher.publish_all([record(b"2", "late")]))


async def test_partitions_are_looked_up_once_and_again_after_a_failure(
    kafka: FakeKafka, publisher: KafkaPublisher
) -> None:
    await publisher.publish_all(records(b"1"))
    await publisher.publish_all(records(b"2"))
    assert kafka.updates == 1

    kafka.failures.append(TopicAuthorizationFailedError())
    await publisher.publish_all(records(b"3"))
    assert kafka.updates == 2
    await publisher.publish_all(records(b"4"))
    assert kafka.updates == 2


async def test_partitions_that_were_added_are_used_once_the_client_knows_of_them(
    kafka: FakeKafka, publisher: KafkaPublisher
) -> None:
    keys = [b"%d" % number for number in range(50)]
    await publisher.publish_all([record(key, "things", key) for key in keys])
    kafka.on_broker["things"] = 8
    await kafka.force_metadata_update()
    await publisher.publish_all([record(key, "things", key) for key in keys])
    assert {partition for _, partition, _ in kafka.sent} == set(range(8))


async def test_beyond_the_bound_callers_wait_for_room(kafka: FakeKafka, publisher: KafkaPublisher) -> None:
    kafka.hold = True
    full = await unanswered(kafka, publisher, *(b"%d" % n for n in range(10)))
    waiting = asyncio.create_task(_publish(publisher, [b"late"]))
    with pytest.raises(AssertionError, match="not within"):
        await eventually(lambda: publisher._unacknowledged.count > 10, timeout_s=0.1)

    kafka.hold = False
    kafka.acknowledge()
    assert not any(await full)
    assert await waiting == [None]


async def test_without_room_callers_are_told_in_time(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.hold = True
    await begun(publisher, *(b"%d" % n for n in range(10)))
    (outcome,) = await loop_clock.in_time(publisher.publish_all(records(b"late")))
    assert type(outcome) is QueueUnavailable


async def test_what_waits_behind_a_batch_without_answer_is_refused_as_not_written(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.hold = True
    first = await unanswered(kafka, publisher, b"1")
    later = await begun(publisher, b"2", b"3")

    assert [type(outcome) for outcome in await loop_clock.in_time(later)] == [QueueUnavailable, QueueUnavailable]
    assert [type(outcome) for outcome in await loop_clock.in_time(first)] == [OutcomeUnknown]
    assert [values for _, _, values in kafka.sent] == [[b"1"]], "what was refused is never sent"


async def test_while_a_batch_has_no_answer_others_are_refused_at_once(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.hold = True
    await loop_clock.in_time(await begun(publisher, b"1"))
    (outcome,) = await at_once(publisher.publish_all(records(b"2")))
    assert type(outcome) is QueueUnavailable
    kafka.hold = False
    kafka.acknowledge()
    await eventually(lambda: not publisher._partitions["single", 0].offered)
    assert not any(await publisher.publish_all(records(b"3")))


async def test_after_a_failure_one_batch_tries_and_the_others_are_refused_until_it_has_come_through(
    kafka: FakeKafka, publisher: KafkaPublisher
) -> None:
    kafka.failures.append(TopicAuthorizationFailedError())
    await publisher.publish_all(records(b"1"))
    kafka.hold = True
    probe = await unanswered(kafka, publisher, b"2", b"3")
    (outcome,) = await at_once(publisher.publish_all(records(b"4")))
    assert type(outcome) is QueueUnavailable
    kafka.acknowledge()
    assert await probe == [None, None]
    kafka.hold = False
    assert not any(await publisher.publish_all(records(b"5")))


async def test_a_caller_that_tries_again_without_a_pause_leaves_the_loop_to_others(
    kafka: FakeKafka, publisher: KafkaPublisher
) -> None:
    kafka.failures.append(TopicAuthorizationFailedError())
    await publisher.publish_all(records(b"1"))
    kafka.hold = True
    probe = await unanswered(kafka, publisher, b"2")
    kafka.hold = False
    asyncio.get_running_loop().call_soon(kafka.acknowledge)
    outcomes = [await publisher.publish_all(records(b"3")) for _ in range(20)]
    assert isinstance(outcomes[0][0], QueueUnavailable)
    assert outcomes[-1] == await probe == [None]


async def test_whoever_goes_on_publishing_after_the_end_leaves_the_loop_to_others_too(kafka: FakeKafka) -> None:
    async with KafkaPublisher(KafkaSettings()) as publisher:
        pass
    turns: list[None] = []
    asyncio.get_running_loop().call_soon(turns.append, None)
    outcomes = [await publisher.publish_all(records(b"1")) for _ in range(2)]
    assert [type(outcome) for (outcome,) in outcomes] == [QueueUnavailable] * 2
    assert turns


async def test_a_client_that_never_takes_a_batch_has_not_written_it(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.connects = None
    (outcome,) = await loop_clock.in_time(publisher.publish_all(records(b"1")))
    assert type(outcome) is QueueUnavailable


async def test_a_broker_that_does_not_say_whether_a_topic_is_there_is_given_up(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    kafka.hangs = True
    (outcome,) = await loop_clock.in_time(publisher.publish_all([record(b"1", "unheard.of")]))
    assert type(outcome) is QueueUnavailable


async def test_who_waited_before_the_queue_waits_no_longer_in_it_for_those_ahead(
    kafka: FakeKafka, publisher: KafkaPublisher, loop_clock: LoopClock
) -> None:
    known = record(b"1", "things")._replace(partition=0)
    await publisher.publish(known)
    kafka.connects, kafka.hangs = None, True
    started_s = loop_clock.now_s()
    earlier = asyncio.create_task(publisher.publish_all([known, record(b"2", "unheard.of")]))
    await eventually(lambda: kafka.updates > 1)
    loop_clock.pass_s(QUEUED_AT_MOST_S - 1)
    later = asyncio.create_task(publisher.publish_all([known]))
    await loop_clock.in_time(earlier)
    assert loop_clock.now_s() - started_s < QUEUED_AT_MOST_S + 1
    (outcome,) = await at_once(later)  # nor need those ahead wait longer: no connection comes about
    assert type(outcome) is QueueUnavailable


async def test_a_record_that_cannot_be_encoded_is_refused_alone_and_leaves_its_partition_free(
    kafka: FakeKafka, publisher: KafkaPublisher
) -> None:
    outcomes = await publisher.publish_all(
        [record(b"1"), OutRecord("single", None, cast("bytes", "no bytes"), [], 0), record(b"2")]
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), PenstockError, type(None)]
    assert not any(await publisher.publish_all(records(b"3")))


async def test_a_client_that_makes_no_batch_leaves_its_partition_free(
    kafka: FakeKafka, publisher: KafkaPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(producers.partition_queue, "DefaultRecordBatchBuilder", lambda *_: 1 / 0)
        (outcome,) = await publisher.publish_all(records(b"1"))
        assert isinstance(outcome, QueueUnavailable)
    assert not any(await publisher.publish_all(records(b"2")))


async def test_leaving_tells_those_who_still_wait(kafka: FakeKafka, loop_clock: LoopClock) -> None:
    kafka.hold = True
    publisher = await KafkaPublisher(KafkaSettings()).__aenter__()
    task = await unanswered(kafka, publisher, b"1")
    await loop_clock.in_time(publisher.__aexit__(None, None, None))
    assert [type(outcome) for outcome in await task] == [OutcomeUnknown]


async def test_an_answer_that_lacks_a_partition_leaves_its_records_unknown(
    kafka: FakeKafka, publisher: KafkaPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer_nothing(_broker: int, _request: object) -> SimpleNamespace:
        return SimpleNamespace(topics=[])

    monkeypatch.setattr(kafka, "send", answer_nothing)
    (outcome,) = await publisher.publish_all(records(b"1"))
    assert isinstance(outcome, OutcomeUnknown)


async def test_once_it_is_left_nothing_is_taken_and_nobody_waits(kafka: FakeKafka) -> None:
    async with KafkaPublisher(KafkaSettings()) as publisher:
        await publisher.publish(record(b"1"))
    (outcome,) = await at_once(publisher.publish_all(records(b"2")))
    assert type(outcome) is QueueUnavailable
    assert [values for _, _, values in kafka.sent] == [[b"1"]]


async def test_who_is_cancelled_while_leaving_tells_those_who_wait(kafka: FakeKafka) -> None:
    kafka.hold = True
    publisher = await KafkaPublisher(KafkaSettings()).__aenter__()
    task = await unanswered(kafka, publisher, b"1")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(publisher.__aexit__(None, None, None), 0.01)
    assert [type(outcome) for outcome in await task] == [OutcomeUnknown]
    assert kafka.stopped


async def test_a_topic_that_the_client_forgot_is_asked_about_again(kafka: FakeKafka, publisher: KafkaPublisher) -> None:
    kafka.cluster.topics, kafka.cluster.leaderless = {"single": 1}, True
    task = await begun(publisher, b"1")
    await eventually(lambda: "single" in kafka.asked_for)
    kafka.cluster.leaderless = False
    assert await task == [None]


async def test_no_batch_is_larger_than_the_topics_take(kafka: FakeKafka, publisher: KafkaPublisher) -> None:
    assert not any(await publisher.publish_all(records(*(b"%d" % n * (LIMIT // 8) for n in range(10, 18)))))
    assert all(sum(len(value or b"") for value in values) <= LIMIT for _, _, values in kafka.sent)


async def test_headers_that_cannot_be_encoded_cost_a_large_record_alone(
    kafka: FakeKafka, publisher: KafkaPublisher
) -> None:
    broken = OutRecord("single", None, b"x" * (LIMIT // 2), [("\ud800", b"")])
    outcomes = await publisher.publish_all([record(b"1"), broken, record(b"2")])
    assert [type(outcome) for outcome in outcomes] == [type(None), PenstockError, type(None)]


async def test_a_cancelled_caller_disturbs_nobody(kafka: FakeKafka, publisher: KafkaPublisher) -> None:
    kafka.hold = True
    cancelled, other = await begun(publisher, b"1"), await begun(publisher, b"2")
    await eventually(lambda: kafka.held)
    cancelled.cancel()
    kafka.hold = False
    kafka.acknowledge()
    assert await other == [None]


async def test_leaving_waits_for_what_is_on_its_way(kafka: FakeKafka) -> None:
    kafka.hold = True
    async with KafkaPublisher(KafkaSettings()) as publisher:
        task = await unanswered(kafka, publisher, b"1")
        asyncio.get_running_loop().call_later(0.02, kafka.acknowledge)
    assert await task == [None]
    assert kafka.stopped


async def test_who_still_asked_for_a_topic_at_the_end_is_told(kafka: FakeKafka, loop_clock: LoopClock) -> None:
    publisher = await KafkaPublisher(KafkaSettings()).__aenter__()
    await publisher.publish_all(records(b"1"))
    kafka.connects, kafka.hangs = None, True
    waiting = asyncio.create_task(publisher.publish_all(records(b"2")))
    asking = asyncio.create_task(publisher.publish_all([record(b"3"), record(b"4", "unheard.of")]))
    await eventually(lambda: kafka.updates > 1)
    leaving = asyncio.create_task(publisher.__aexit__(None, None, None))
    await at_once(asyncio.sleep(0))
    leaving.cancel()
    for task in (waiting, asking):
        outcomes = await loop_clock.in_time(asyncio.wait_for(task, 60))
        assert {type(outcome) for outcome in outcomes} == {QueueUnavailable}


async def test_an_unreachable_kafka_is_told_at_the_start(kafka: FakeKafka) -> None:
    kafka.start_error = KafkaConnectionError()
    with pytest.raises(QueueUnavailable, match="localhost:9092"):
        async with KafkaPublisher(KafkaSettings()):
            pass
    assert kafka.stopped
