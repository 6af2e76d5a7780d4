"""What a worker counts of its lanes, and how it tells that."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from producers.memory import MemoryLog
from schemas.errors import (
    Canceled,
    DeadlineExceeded,
    InvalidInput,
    ModelCrashed,
    OutcomeUnknown,
    OutputInvalid,
    PayloadTooLarge,
    PenstockError,
    TimeLimitExceeded,
    TransientFailure,
)
from schemas.jobs import Payload, Terminal, end_of
from schemas.records import LaneJob, OutRecord
from schemas.stats import Counts, End, StatsRecord, bin_of, decode_stats
from tests.unit.inference.jobs import BULK, LIVE, NOON, TOPICS, lane_job
from tests.unit.inference.worker import Clock
from tests.waiting import eventually
from workers.inference.counting.reporting import MOST_UNTOLD, StatsReporter
from workers.inference.counting.tally import Tallies, Tally
from workers.inference.execution.account import Run
from workers.rollout.windows import Taken, Windows

OK = Payload(b"{}")


def routed(cohort: int | None = 7, revision: int | None = 4, moved_from: str | None = None) -> LaneJob:
    return msgspec.structs.replace(lane_job(), cohort=cohort, revision=revision, moved_from=moved_from)


def end(outcome: Payload | PenstockError, job: LaneJob | None = None) -> Terminal:
    return end_of(job or routed(), outcome, NOON)


def test_ends_are_counted_by_kind_and_cohort() -> None:
    tally = Tally()
    tally.ended([end(OK), end(OK, routed(8, 5)), end(ModelCrashed("gone")), end(TimeLimitExceeded("slow"))])
    tally.ended([end(OutputInvalid("NaN")), end(InvalidInput("no")), end(Canceled("by you"))])
    tally.ended([end(DeadlineExceeded("late")), end(TransientFailure("given up")), end(OK)])
    assert tally.take() == Counts(
        ends={
            End.SUCCEEDED: {7: 2, 8: 1},
            End.FAILED: {7: 1},
            End.RUN_LIMIT: {7: 1},
            End.INVALID_OUTPUT: {7: 1},
            End.CLIENT_ERROR: {7: 1},
            End.CANCELED: {7: 1},
            End.DEADLINE: {7: 1},
            End.GIVEN_UP: {7: 1},
        },
        revisions=(4, 5),
    )
    assert tally.take() == Counts()


def test_jobs_that_did_not_come_by_their_versions_share_are_counted_apart() -> None:
    tally = Tally()
    tally.ended([end(OK, routed(None, None)), end(OK, routed(None, 3)), end(ModelCrashed("x"), routed(7, 4, "2"))])
    assert tally.take() == Counts(others={End.SUCCEEDED: 2, End.FAILED: 1})


def test_a_rescued_job_counts_against_the_version_that_failed_it() -> None:
    tally = Tally()
    tally.rescued([end(ModelCrashed("gone"))])
    tally.moved(3)
    assert tally.take() == Counts(ends={End.FAILED: {7: 1}}, rescued=1, moved=3, revisions=(4, 4))


def test_a_rescued_job_that_had_come_from_another_version_counts_with_the_others_alone() -> None:
    tally = Tally()
    tally.rescued([end(ModelCrashed("gone"), routed(7, 4, "2")), end(ModelCrashed("gone"))])
    assert tally.take() == Counts(ends={End.FAILED: {7: 1}}, others={End.FAILED: 1}, rescued=1, revisions=(4, 4))


def test_runs_are_counted_by_size_and_by_the_seconds_of_a_row() -> None:
    tally = Tally()
    tally.ran([Run(8, 8.0, 0.08), Run(7, 7.0, 0.07), Run(1, 1.0, 0.5), Run(0, 0.0, 0.1)])
    assert tally.take().run_times == {3: {bin_of(0.01): 2}, 0: {bin_of(0.5): 1, bin_of(0.1): 1}}


class Told:
    """A worker's reporter over a log in memory, and a lane in which one job has succeeded."""

    def __init__(self) -> None:
        self.tallies, self.log, self.clock = Tallies(), MemoryLog(1), Clock()
        self.reporter = StatsReporter(self.tallies, self.log, TOPICS, self.clock)
        self.count()

    def count(self) -> None:
        self.tallies.of(LIVE).ended([end(OK)])

    async def interval(self) -> None:
        """The end of one."""
        self.clock.advance(5)
        self.reporter._close(self.clock.now)
        await self.reporter._tell()

    @property
    def records(self) -> list[StatsRecord]:
        return [decode_stats(out.value or b"") for out in self.log.records(TOPICS.stats)]


async def test_each_lane_where_something_was_counted_is_told_once_an_interval() -> None:
    told = Told()
    told.tallies.of(BULK)
    await told.interval()
    await told.interval()
    told.count()
    await told.interval()
    assert [(each.version, each.lane, each.counts.jobs()) for each in told.records] == [(LIVE.version, LIVE.cls, 1)] * 2
    assert [each.began_at - NOON for each in told.records] == [timedelta(0), timedelta(seconds=10)]
    assert {out.key for out in told.log.records(TOPICS.stats)} == {b"adder/1"}
    assert len({each.worker for each in told.records}) == 1


async def test_what_could_not_be_told_is_told_as_the_same_record_with_the_next_interval() -> None:
    told = Told()
    told.log.fail_next = [OutcomeUnknown("no answer")]
    await told.interval()
    assert told.records == []
    told.count()
    await told.interval()
    assert [each.began_at - NOON for each in told.records] == [timedelta(0), timedelta(seconds=5)]


async def test_what_no_record_can_hold_is_not_tried_again() -> None:
    told = Told()
    told.log.fail_next = [PayloadTooLarge("too large")]
    await told.interval()
    await told.interval()
    assert told.records == []


async def test_while_kafka_is_away_only_so_much_is_kept() -> None:
    told = Told()
    for _ in range(MOST_UNTOLD + 5):
        told.count()
        told.log.fail_next = [OutcomeUnknown("no answer")] * MOST_UNTOLD
        told.clock.advance(5)
        told.reporter._close(told.clock.now)
    told.log.fail_next = []
    await told.reporter._tell()
    assert len(told.records) == MOST_UNTOLD
    assert told.records[-1].ended_at == told.clock.now


async def test_the_last_interval_is_told_when_the_worker_leaves() -> None:
    told = Told()
    told.clock.advance(2)
    await told.reporter.tell_now()
    (record,) = told.records
    assert (record.began_at, record.ended_at - record.began_at) == (NOON, timedelta(seconds=2))


async def test_an_interval_that_is_told_in_parts_is_of_two_records_that_both_count() -> None:
    told = Told()
    await told.reporter.tell_now()
    told.count()
    await told.interval()
    windows = Windows({})
    taken = [windows.take(record, told.clock.now.timestamp()) for record in told.records]
    assert taken == [Taken.COUNTED, Taken.COUNTED]
    assert {record.began_at for record in told.records} == {NOON}


class Slow(MemoryLog):
    """Answers its first call when it may, and its second at once: with no."""

    def __init__(self) -> None:
        super().__init__(1)
        self.calls, self.may_answer = 0, asyncio.Event()

    async def publish_all(self, records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        self.calls += 1
        if self.calls == 2:
            return [OutcomeUnknown("no answer")] * len(records)
        await self.may_answer.wait()
        return await super().publish_all(records)


async def test_what_cannot_be_told_while_something_else_is_being_told_is_not_lost() -> None:
    told, log = Told(), Slow()
    told.log = log
    told.reporter = StatsReporter(told.tallies, log, TOPICS, told.clock)
    first = asyncio.create_task(told.reporter.tell_now())
    await eventually(lambda: log.calls == 1)
    told.count()
    second = asyncio.create_task(told.interval())
    await second
    log.may_answer.set()
    await first
    await told.interval()
    assert sum(record.counts.jobs() for record in told.records) == 2


class Broken(MemoryLog):
    async def publish_all(self, records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        raise RuntimeError("of no kind that is known")


async def test_whatever_befalls_the_telling_ends_nothing_else() -> None:
    told = Told()
    told.reporter = StatsReporter(told.tallies, Broken(1), TOPICS, told.clock)
    await told.interval()
    await told.reporter.tell_now()


async def test_intervals_end_by_the_clock_on_the_wall() -> None:
    told = Told()
    told.clock.advance(4.999)
    running = asyncio.create_task(told.reporter.run())
    try:
        await eventually(lambda: told.clock.now)
        told.clock.advance(0.001)
        await eventually(lambda: told.records)
    finally:
        running.cancel()
    assert told.records[0].ended_at == NOON + timedelta(seconds=5)
