"""A record is done when its replacement is acknowledged, and not before."""

from collections.abc import Sequence

import msgspec
import pytest

from producers.kafka_publisher import record_bytes
from producers.memory import MemoryLog
from schemas.errors import (
    JobError,
    OutcomeUnknown,
    PayloadTooLarge,
    PenstockError,
    QueueUnavailable,
    TopicMissing,
    TransientFailure,
    Undecodable,
)
from schemas.jobs import Payload, Status, Terminal, end_of
from schemas.records import LaneJob, OutRecord, read_lane_record, read_terminal_record
from schemas.routes import Choice
from tests.unit.inference.jobs import LIVE_TOPIC, NOON, SIGNATURE, TOPICS, item, lane_job, out_record, request_json
from workers.consuming.protocols import Record
from workers.inference.decoding.record_decoder import UndecodableRecord
from workers.inference.results import publisher as ends
from workers.inference.results.outcomes import DeadLettered, Moved, Outcome, RetryLater, not_run, terminal
from workers.inference.results.publisher import ResultPublisher
from workers.memory import MemoryConsumer, MemoryGroup

RESULTS = TOPICS.results
DEAD_LETTERS = TOPICS.dead_letter(LIVE_TOPIC)


async def fetched(log: MemoryLog, consumer: MemoryConsumer, jobs: Sequence[LaneJob]) -> list[Record]:
    await log.publish_all([out_record(job) for job in jobs])
    return list(await consumer.fetch(len(jobs), timeout_s=1.0))


def failures(jobs: Sequence[LaneJob]) -> list[Terminal]:
    return [end_of(job, JobError("no"), NOON) for job in jobs]


def zipped(records: Sequence[Record], settled: Sequence[Outcome]) -> list[tuple[Record, Outcome]]:
    return list(zip(records, settled, strict=True))


def published(log: MemoryLog) -> list[Terminal]:
    return [read_terminal_record(tuple(out.headers), out.value) for out in log.records(RESULTS)]


async def test_records_are_done_once_their_ends_are_published() -> None:
    log, jobs = MemoryLog(1), [lane_job(), lane_job()]
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        records = await fetched(log, consumer, jobs)

        await ResultPublisher(log, TOPICS).finish(consumer, "the-group", zipped(records, failures(jobs)))

        assert [end.id for end in published(log)] == [job.id for job in jobs]
        assert consumer.open_count == 0


async def test_what_is_not_acknowledged_is_published_again_and_the_rest_is_not() -> None:
    # Given a queue that refuses the first record of three, and then again
    log, jobs = MemoryLog(1), [lane_job(), lane_job(), lane_job()]
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        records = await fetched(log, consumer, jobs)
        log.fail_next = [OutcomeUnknown("no answer")]
        open_counts: list[int] = []

        def on_write() -> None:
            open_counts.append(consumer.open_count)
            if len(open_counts) == 2:
                log.fail_next = [QueueUnavailable("down")]

        log.on_write.append(on_write)

        # When the ends are published
        await ResultPublisher(log, TOPICS).finish(consumer, "the-group", zipped(records, failures(jobs)))

        # Then each is written once, and each record was open until its own was
        assert [end.id for end in published(log)] == [jobs[1].id, jobs[2].id, jobs[0].id]
        assert open_counts == [3, 3, 1]
        assert consumer.open_count == 0


async def test_a_result_too_large_for_a_record_fails_its_job_and_says_so() -> None:
    log = MemoryLog(1, max_record_bytes=2000)
    large, small = lane_job(), lane_job()
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        records = await fetched(log, consumer, [large, small])
        settled: list[Outcome] = [*failures([large, small])]
        job = item(1.0, job=large)
        rows = job.request.inputs["x"].repeat(1000, axis=0)
        settled[0] = terminal(SIGNATURE, job, {"same": rows, "double": rows}, NOON, NOON)

        told = await ResultPublisher(log, TOPICS).finish(consumer, "the-group", zipped(records, settled))

        by_id = {end.id: end for end in published(log)}
        assert by_id[large.id].status is Status.FAILED
        assert isinstance(told[0], Terminal)
        assert told[0].error is not None
        assert told[0].error.code == "output_invalid"
        assert by_id[large.id].error == told[0].error
        assert told[1] == settled[1]
        assert consumer.open_count == 0


async def test_a_result_may_turn_out_too_large_after_kafka_was_away() -> None:
    log, job = MemoryLog(1), lane_job()
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        records = await fetched(log, consumer, [job])
        log.fail_next = [QueueUnavailable("down"), PayloadTooLarge("the topic takes less than we thought")]

        (told,) = await ResultPublisher(log, TOPICS).finish(consumer, "the-group", zipped(records, failures([job])))

        assert isinstance(told, Terminal)
        assert told.error is not None
        assert told.error.code == "output_invalid"
        assert len(published(log)) == 1


async def test_a_dead_record_is_buried_as_it_was_with_the_reason() -> None:
    log, job = MemoryLog(1), lane_job()
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        (record,) = await fetched(log, consumer, [job])

        await ResultPublisher(log, TOPICS).bury(
            consumer, "the-group", [UndecodableRecord(record, Undecodable("no value"))]
        )

        (letter,) = log.records(DEAD_LETTERS)
        headers = dict(letter.headers)
        assert (letter.key, letter.value) == (record.key, record.value)
        assert headers["ce_id"] == job.id.encode()
        assert headers["__dlq.errors.message"] == b"no value"
        assert headers["__dlq.errors.group"] == b"the-group"
        assert consumer.open_count == 0


@pytest.mark.parametrize("refusal", [QueueUnavailable("down"), PayloadTooLarge("too large")])
async def test_a_dead_record_is_buried_whatever_happens(refusal: QueueUnavailable | PayloadTooLarge) -> None:
    log, job = MemoryLog(1), lane_job(payload=Payload(b"x" * 100))
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        (record,) = await fetched(log, consumer, [job])
        log.fail_next = [refusal]

        await ResultPublisher(log, TOPICS).bury(consumer, "the-group", [UndecodableRecord(record, Undecodable("odd"))])

        (letter,) = log.records(DEAD_LETTERS)
        assert letter.value == (None if isinstance(refusal, PayloadTooLarge) else record.value)
        assert consumer.open_count == 0


async def test_the_end_of_a_job_whose_partition_was_lost_changes_nothing_here() -> None:
    # Given a record of an ownership that is over, fetched again by the next member
    log, job = MemoryLog(1), lane_job(payload=request_json([1.0]))
    group = MemoryGroup(log, [LIVE_TOPIC])
    async with group.member() as first:
        records = await fetched(log, first, [job])
    async with group.member() as second:
        (again,) = await second.fetch(1, timeout_s=1.0)
        assert again.epoch == records[0].epoch  # epochs are each member's own

        await ResultPublisher(log, TOPICS).finish(first, "the-group", zipped(records, failures([job])))

        assert second.open_count == 1
        assert group.committed == {}


def retried(job: LaneJob, tier: int = 1) -> RetryLater:
    error = TransientFailure("the store of features is away")
    return RetryLater(end_of(job, error, NOON), tier, error)


async def test_a_job_that_is_tried_again_goes_to_its_tier_as_it_was_with_the_reason() -> None:
    log, job = MemoryLog(1), lane_job()
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        (record,) = await fetched(log, consumer, [job])

        await ResultPublisher(log, TOPICS).finish(consumer, "the-group", [(record, retried(job, tier=2))])

        (out,) = log.records(TOPICS.retry(2))
        assert (out.key, out.value, published(log)) == (record.key, record.value, [])
        assert read_lane_record(tuple(out.headers), out.value) == msgspec.structs.replace(job, attempt=2)
        assert dict(out.headers)["ce_retryreason"] == b"transient_failure: the store of features is away"
        assert consumer.open_count == 0


async def test_what_a_job_was_tried_again_for_before_is_replaced() -> None:
    log, job = MemoryLog(1), lane_job()
    again = OutRecord(
        LIVE_TOPIC, b"k", b"v", [*out_record(job).headers, ("ce_attempt", b"1"), ("ce_retryreason", b"x")]
    )
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        await log.publish(again)
        (record,) = await consumer.fetch(1, timeout_s=1.0)

        await ResultPublisher(log, TOPICS).finish(consumer, "the-group", [(record, retried(job, tier=2))])

        (out,) = log.records(TOPICS.retry(2))
        names = [name for name, _ in out.headers]
        assert len(names) == len(set(names))
        assert dict(out.headers)["ce_attempt"] == b"2"


@pytest.mark.parametrize("refusals", [[PayloadTooLarge("large")], [QueueUnavailable("down"), PayloadTooLarge("large")]])
async def test_a_job_that_cannot_be_put_aside_ends(refusals: list[PenstockError | None]) -> None:
    log, job = MemoryLog(1), lane_job()
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        (record,) = await fetched(log, consumer, [job])
        log.fail_next = refusals

        (told,) = await ResultPublisher(log, TOPICS).finish(consumer, "the-group", [(record, retried(job))])

        assert [end.id for end in published(log)] == [job.id]
        assert isinstance(told, Terminal)
        assert log.records(TOPICS.retry(1)) == []
        assert consumer.open_count == 0


async def test_a_tier_that_stays_missing_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    log, job = MemoryLog(1), lane_job()
    monkeypatch.setattr(ends, "PATIENCE_S", 0.0)
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        (record,) = await fetched(log, consumer, [job])
        log.fail_next = [TopicMissing("no such topic"), TopicMissing("no such topic")]

        await ResultPublisher(log, TOPICS).finish(consumer, "the-group", [(record, retried(job))])

        (end,) = published(log)
        assert end.error is not None
        assert end.error.code == "transient_failure"


def parked(job: LaneJob) -> DeadLettered:
    error = TransientFailure("away; given up after 4 attempts")
    return DeadLettered(end_of(job, error, NOON), error, 4)


async def test_a_job_that_is_given_up_ends_and_is_kept_as_a_dead_letter() -> None:
    log, job = MemoryLog(1), lane_job()
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        (record,) = await fetched(log, consumer, [job])

        await ResultPublisher(log, TOPICS).finish(consumer, "the-group", [(record, parked(job))])

        (letter,) = log.records(DEAD_LETTERS)
        headers = dict(letter.headers)
        assert (letter.key, letter.value) == (record.key, record.value)
        assert (headers["__dlq.errors.delivery.count"], headers["ce_errorcode"]) == (b"4", b"transient_failure")
        assert [end.id for end in published(log)] == [job.id]
        assert consumer.open_count == 0


@pytest.mark.parametrize("refusals", [[QueueUnavailable("down")], [None, QueueUnavailable("down")]])
async def test_the_record_of_a_job_given_up_stays_open_until_both_are_written(
    refusals: list[PenstockError | None],
) -> None:
    log, job = MemoryLog(1), lane_job()
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        (record,) = await fetched(log, consumer, [job])
        log.fail_next = refusals
        open_counts: list[int] = []
        log.on_write.append(lambda: open_counts.append(consumer.open_count))

        await ResultPublisher(log, TOPICS).finish(consumer, "the-group", [(record, parked(job))])

        assert (len(log.records(DEAD_LETTERS)), len(published(log))) == (1, 1)
        assert open_counts == [1, 1]
        assert consumer.open_count == 0


async def test_a_letter_that_is_too_large_is_kept_without_its_payload_and_its_job_ends_all_the_same() -> None:
    log, job = MemoryLog(1), lane_job()
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        (record,) = await fetched(log, consumer, [job])
        log.fail_next = [None, PayloadTooLarge("large")]

        await ResultPublisher(log, TOPICS).finish(consumer, "the-group", [(record, parked(job))])

        (letter,) = log.records(DEAD_LETTERS)
        assert letter.value is None
        assert dict(letter.headers)["__dlq.errors.delivery.count"] == b"4"
        assert [end.id for end in published(log)] == [job.id]


async def test_a_job_given_up_whose_rescue_has_no_lane_ends_and_is_kept_as_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, job = MemoryLog(1), lane_job()
    monkeypatch.setattr(ends, "PATIENCE_S", 0.0)
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        (record,) = await fetched(log, consumer, [job])
        log.fail_next = [TopicMissing("no such topic"), TopicMissing("no such topic")]
        rescuing = ResultPublisher(log, TOPICS, lambda _record, _end: Choice("2"))

        (told,) = await rescuing.finish(consumer, "the-group", [(record, parked(job))])

        assert isinstance(told, DeadLettered)
        (letter,) = log.records(DEAD_LETTERS)
        assert (letter.value, dict(letter.headers)["__dlq.errors.delivery.count"]) == (record.value, b"4")
        assert [end.id for end in published(log)] == [job.id]
        assert consumer.open_count == 0


def error_of(told: Outcome) -> str | None:
    assert isinstance(told, Terminal)
    return None if told.error is None else told.error.code


async def test_a_job_that_is_too_large_for_the_lane_of_another_version_ends_for_that_reason() -> None:
    log, waited, failed = MemoryLog(1), lane_job(), lane_job()
    to = Choice("2", "stable", 7, 3)
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        records = await fetched(log, consumer, [waited, failed])
        log.fail_next = [PayloadTooLarge("large"), PayloadTooLarge("large")]
        settled = [not_run(waited, to, NOON), Moved(to, end_of(failed, JobError("no"), NOON), rescued=True)]

        told = await ResultPublisher(log, TOPICS).finish(consumer, "the-group", zipped(records, settled))

        assert [error_of(each) for each in told] == ["payload_too_large", "inference_failed"]
        assert consumer.open_count == 0


async def test_a_job_as_large_as_one_may_be_is_tried_again_and_moved() -> None:
    jobs = [lane_job(payload=Payload(b"x" * 1000)) for _ in range(2)]
    log = MemoryLog(1, max_record_bytes=max(record_bytes(out_record(job)) for job in jobs))
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        records = await fetched(log, consumer, jobs)
        settled: list[Outcome] = [retried(jobs[0]), not_run(jobs[1], Choice("2", "a-long-label", 2**31 - 1, 99), NOON)]

        told = await ResultPublisher(log, TOPICS).finish(consumer, "the-group", zipped(records, settled))

        assert told == settled
        assert published(log) == []
        assert len(log.records(TOPICS.retry(1))) == 1


class CountingLog(MemoryLog):
    calls = 0

    async def publish_all(self, records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        self.calls += 1
        return await super().publish_all(records)


async def test_results_and_retries_of_a_micro_batch_are_published_together() -> None:
    log, jobs = CountingLog(1), [lane_job(), lane_job(), lane_job()]
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        records = await fetched(log, consumer, jobs)
        log.calls = 0
        await ResultPublisher(log, TOPICS).finish(
            consumer, "the-group", zipped(records, [*failures(jobs[:1]), retried(jobs[1]), parked(jobs[2])])
        )

        assert log.calls == 1
        assert consumer.open_count == 0
