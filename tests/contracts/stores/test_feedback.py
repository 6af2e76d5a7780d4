"""Contract of `FeedbackStore`: what is kept of each job, and what is counted of it."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from schemas.errors import Conflict, JobNotFound, ResultNotReady
from schemas.feedback import Feedback, Told
from schemas.jobs import Job, Payload
from schemas.stats import INTERVAL_S, interval_start
from schemas.topics import LaneClass
from schemas.version_counts import SPAN_S
from stores.feedback import FeedbackStore, Outcomes, OutcomeSums
from stores.memory_feedback import MemoryFeedback
from stores.postgres import PostgresPurging
from stores.postgres.feedback import PostgresFeedback
from stores.retention import DEFAULT_RETENTION, FEEDBACK_KEPT
from tests.contracts.stores.building import LATER, NOW, Stores, ended, failed, key_of
from tests.contracts.stores.conftest import execute

TOLD_AT = NOW + timedelta(minutes=5)
CAT = Payload(b'{"predictions":["cat"]}')
INTERVAL = interval_start(LATER)
HOUR = timedelta(hours=1)


@pytest.fixture
async def feedback(dsn: str | None, stores: Stores) -> AsyncIterator[FeedbackStore]:
    if dsn is None:
        yield MemoryFeedback(stores.jobs)
        return
    async with PostgresFeedback(dsn) as store:
        yield store


async def answered(stores: Stores, *, completed_at: datetime = LATER, result: Payload = CAT, **fields: Any) -> Job:
    job = await stores.inserted(**{"cohort": 7, "revision": 3} | fields)
    await stores.endings.finish([ended(job, completed_at=completed_at, result=result)])
    return job


def told(job: Job, at: datetime = TOLD_AT, **fields: Any) -> Told:
    return Told(job.tenant, job.id, at, **fields or {"reward": 1.0})


async def kept(feedback: FeedbackStore, *all_of: Told) -> Feedback:
    """What stands of the last."""
    found = (await feedback.tell(all_of))[-1]
    assert isinstance(found, Feedback), found
    return found


async def counted(feedback: FeedbackStore, below: float = 0.5, versions: tuple[str, ...] = ("2",)) -> list[Outcomes]:
    return list(await feedback.outcomes("digits", versions, LATER - HOUR, LATER + HOUR, below))


async def test_feedback_is_kept_with_the_version_that_answered(stores: Stores, feedback: FeedbackStore) -> None:
    job = await answered(stores, variant="canary")
    assert await kept(feedback, told(job, reward=0.25)) == Feedback(
        tenant="default",
        id=job.id,
        told_at=TOLD_AT,
        ended_at=LATER,
        model="digits",
        version="2",
        lane="live",
        variant="canary",
        revision=3,
        cohort=7,
        reward=0.25,
    )


async def test_a_label_is_held_against_the_jobs_own(stores: Stores, feedback: FeedbackStore) -> None:
    job = await answered(stores)
    right = await kept(feedback, told(job, label="cat"))
    assert (right.reward, right.label, right.predicted) == (1.0, "cat", "cat")
    wrong = await kept(feedback, told(job, label="zażółć"))
    assert (wrong.reward, wrong.label, wrong.predicted) == (0.0, "zażółć", "cat")


async def test_a_label_that_cannot_be_compared_is_kept_and_counts_for_nothing(
    stores: Stores, feedback: FeedbackStore
) -> None:
    job = await answered(stores, result=Payload(b'{"predictions":[0.5]}'))
    assert (await kept(feedback, told(job, label="cat"))).reward is None
    assert await counted(feedback) == []


async def test_what_was_told_last_counts_and_once(stores: Stores, feedback: FeedbackStore) -> None:
    job = await answered(stores)
    await kept(feedback, told(job, reward=1.0))
    await kept(feedback, told(job, TOLD_AT + HOUR, reward=0.0))
    assert await counted(feedback) == [Outcomes("2", 7, INTERVAL, 1, 1)]
    earlier = await kept(feedback, told(job, reward=1.0))
    assert (earlier.reward, earlier.told_at) == (0.0, TOLD_AT + HOUR)
    assert await counted(feedback) == [Outcomes("2", 7, INTERVAL, 1, 1)]


async def test_a_job_may_be_told_of_twice_in_one_call(stores: Stores, feedback: FeedbackStore) -> None:
    job, other = await answered(stores), await answered(stores)
    later = told(job, TOLD_AT + HOUR, reward=0.0)
    answers = await feedback.tell([later, told(other), told(job)])
    assert [each.reward for each in answers if isinstance(each, Feedback)] == [0.0, 1.0, 0.0]
    assert await counted(feedback) == [Outcomes("2", 7, INTERVAL, 2, 1)]


async def test_only_answers_can_be_told_of(stores: Stores, feedback: FeedbackStore) -> None:
    queued = await stores.inserted()
    canceled = await stores.inserted()
    await stores.jobs.cancel(key_of(canceled), NOW)
    broken = await stores.inserted()
    await stores.endings.finish([failed(broken)])
    good = await answered(stores)
    unknown = Told("default", "job_unknown", TOLD_AT, 1.0)
    others = Told("somebody", good.id, TOLD_AT, 1.0)
    asked = [unknown, others, told(queued), told(canceled), told(broken), told(good)]
    answers = await feedback.tell(asked)
    assert [type(each) for each in answers] == [JobNotFound, JobNotFound, ResultNotReady, Conflict, Conflict, Feedback]


async def test_a_label_of_several_rows_is_refused_and_a_reward_is_not(stores: Stores, feedback: FeedbackStore) -> None:
    job = await answered(stores, rows=3)
    (refused,) = await feedback.tell([told(job, label="cat")])
    assert isinstance(refused, Conflict)
    assert (await kept(feedback, told(job))).reward == 1.0


async def test_nothing_is_told_by_nobody(feedback: FeedbackStore) -> None:
    assert await feedback.tell([]) == []


async def test_outcomes_are_counted_by_version_cohort_and_when_jobs_ended(
    stores: Stores, feedback: FeedbackStore
) -> None:
    next_interval = LATER + timedelta(seconds=INTERVAL_S)
    jobs = [
        await answered(stores, version="1", cohort=3),
        await answered(stores, version="2", cohort=3),
        await answered(stores, version="2", cohort=4),
        await answered(stores, version="2", cohort=4, completed_at=next_interval),
        await answered(stores, version="3", cohort=3),
    ]
    await feedback.tell([told(job, reward=0.3) for job in jobs])
    assert await counted(feedback, versions=("1", "2")) == [
        Outcomes("1", 3, INTERVAL, 1, 1),
        Outcomes("2", 3, INTERVAL, 1, 1),
        Outcomes("2", 4, INTERVAL, 1, 1),
        Outcomes("2", 4, interval_start(next_interval), 1, 1),
    ]
    until = interval_start(next_interval)
    assert len(await feedback.outcomes("digits", ["2"], INTERVAL, until, 0.5)) == 2
    assert len(await feedback.outcomes("digits", ["2"], until, until + HOUR, 0.5)) == 1
    assert await feedback.outcomes("other", ["2"], INTERVAL, until, 0.5) == []


async def test_the_threshold_says_what_is_bad(stores: Stores, feedback: FeedbackStore) -> None:
    for reward in (0.2, 0.5, 0.8):
        await kept(feedback, told(await answered(stores), reward=reward))
    assert [(await counted(feedback, below))[0].bad for below in (0.1, 0.5, 0.6, 1.0)] == [0, 1, 2, 3]


async def test_the_judge_is_told_of_live_jobs_that_came_by_a_share(stores: Stores, feedback: FeedbackStore) -> None:
    pinned = await answered(stores, cohort=None)
    bulk = await answered(stores, lane=LaneClass.BULK)
    await feedback.tell([told(pinned), told(bulk)])
    assert await counted(feedback) == []


async def test_all_jobs_of_a_lane_are_summed_up(stores: Stores, feedback: FeedbackStore) -> None:
    span = datetime.fromtimestamp(LATER.timestamp() // SPAN_S * SPAN_S, LATER.tzinfo)
    jobs = [await answered(stores), await answered(stores, cohort=None), await answered(stores, version="1")]
    await feedback.tell([told(job, reward=reward) for job, reward in zip(jobs, (0.25, 1.0, 0.5), strict=True)])
    found = await feedback.summed("digits", ["1", "2"], "live", LATER - HOUR, LATER + HOUR, 0.5)
    assert found == [OutcomeSums("1", span, 1, 0, 0.5), OutcomeSums("2", span, 2, 1, 1.25)]
    assert await feedback.summed("digits", ["1", "2"], "bulk", LATER - HOUR, LATER + HOUR, 0.5) == []
    assert await feedback.summed("digits", ["2"], "live", LATER + HOUR, LATER + 2 * HOUR, 0.5) == []


async def test_feedback_is_forgotten_in_time(shared_dsn: str) -> None:
    """In Postgres only: the twin forgets nothing."""
    await execute(
        shared_dsn,
        "delete from feedback; insert into feedback (told_at, ended_at, tenant, job, model, version, lane) values "
        "('2026-01-01', '2026-01-01', 'default', 'job_1', 'digits', '2', 'live'), "
        "('2026-02-01', '2026-01-01', 'default', 'job_2', 'digits', '2', 'live')",
    )
    purging = PostgresPurging(shared_dsn, DEFAULT_RETENTION)
    at = datetime.fromisoformat("2026-01-01T00:00:01+00:00") + FEEDBACK_KEPT
    rows = {purged.table: purged.rows async for purged in purging.purge(at) if purged.rows}
    assert rows["feedback"] == 1
