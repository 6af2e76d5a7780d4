"""Jobs that clients have canceled, as far as this worker has heard."""

import asyncio
from datetime import timedelta

from stores.memory_signals import MemorySignals
from stores.protocols import JobKey
from tests.unit.inference.jobs import NOON
from tests.waiting import eventually
from workers.inference.decoding.cancellations import Cancellations


def key(number: int) -> JobKey:
    return JobKey("default", f"job-{number}")


async def test_cancellations_from_before_and_after_the_start_are_heard() -> None:
    signals, canceled = MemorySignals(lambda: NOON), Cancellations(lambda: NOON)
    await signals.announce_cancel(key(1), NOON + timedelta(hours=1))
    following = asyncio.create_task(canceled.follow(signals))
    await eventually(lambda: key(1) in canceled)

    await signals.announce_cancel(key(2), NOON + timedelta(hours=1))

    await eventually(lambda: key(2) in canceled)
    assert key(3) not in canceled
    following.cancel()


def test_another_tenants_job_of_the_same_id_is_another_job() -> None:
    canceled = Cancellations(lambda: NOON)
    canceled.add(JobKey("one", "job"), NOON + timedelta(hours=1))
    assert JobKey("other", "job") not in canceled


def test_the_expired_are_forgotten_so_that_memory_stays_bounded() -> None:
    now = NOON
    canceled = Cancellations(lambda: now)
    for number in range(10_000):
        now += timedelta(seconds=1)
        canceled.add(key(number), now + timedelta(seconds=100))
    assert len(canceled) < 2048
    assert key(9_999) in canceled
