import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from penstock.patience import Patience
from penstock.submit.kafka_target import KafkaTarget
from penstock.submit.outcome import LineStatus
from producers.bulk.lines import JobLine
from producers.memory import MemoryLog
from schemas.errors import ErrorBody, InvalidInput, OutcomeUnknown, PayloadTooLarge
from schemas.jobs import Payload, Status, Terminal
from schemas.topics import LaneClass

TOPIC = "penstock.requests.v1"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def no_sleep(_seconds: float) -> None: ...


def line(**changes: object) -> JobLine:
    plain = JobLine(number=1, model="digits", input=msgspec.Raw(b'{"instances":[1]}'), lane=LaneClass.BULK)
    return msgspec.structs.replace(plain, **changes)


def terminal(job_id: str, status: Status = Status.SUCCEEDED, value: bytes = b"{}") -> Terminal:
    return Terminal(
        tenant="default",
        id=job_id,
        model="digits",
        version="2",
        lane=LaneClass.BULK,
        status=status,
        created_at=NOW,
        expires_at=NOW,
        completed_at=NOW,
        result=Payload(value) if status is Status.SUCCEEDED else None,
        error=None if status is Status.SUCCEEDED else ErrorBody("inference_failed", "no", "inference_error"),
    )


class Results:
    """Terminal records that a test writes, read as from a topic."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Terminal] = asyncio.Queue()

    def write(self, record: Terminal) -> None:
        self._queue.put_nowait(record)

    async def terminals(self) -> AsyncIterator[Terminal]:
        while True:
            yield await self._queue.get()


@asynccontextmanager
async def collecting(target: KafkaTarget) -> AsyncIterator[Results]:
    results = Results()
    collector = asyncio.create_task(target.collect(results.terminals()))
    yield results
    collector.cancel()


def target_on(queue: MemoryLog, grace_s: float = 30) -> KafkaTarget:
    return KafkaTarget(queue, TOPIC, Patience(sleep=no_sleep), now=lambda: NOW, grace_s=grace_s)


async def test_a_line_becomes_a_cloud_event_keyed_by_its_job() -> None:
    queue = MemoryLog()

    job_id = await target_on(queue).submission(line(version="2", timeout_s=60.0)).send()

    (record,) = queue.records(TOPIC)
    assert record.key == job_id.encode()
    assert record.value == b'{"instances":[1]}'
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": job_id.encode(),
        "ce_source": b"/penstock/submit",
        "ce_type": b"io.penstock.job.v1",
        "ce_time": b"2026-01-02T03:04:05.000Z",
        "ce_model": b"digits",
        "ce_modelversion": b"2",
        "ce_lane": b"bulk",
        "ce_deadline": b"2026-01-02T03:05:05.000Z",
        "content-type": b"application/json",
    }


async def test_a_version_left_open_is_left_to_the_router() -> None:
    queue = MemoryLog()

    await target_on(queue).submission(line()).send()

    assert "ce_modelversion" not in dict(queue.records(TOPIC)[0].headers)


async def test_options_travel_beside_the_input() -> None:
    queue = MemoryLog()

    await target_on(queue).submission(line(options={"metadata": msgspec.Raw(b'{"a":1}')})).send()

    assert json.loads(queue.records(TOPIC)[0].value or b"") == {"metadata": {"a": 1}, "input": {"instances": [1]}}


async def test_the_first_result_of_a_job_counts_and_others_jobs_do_not() -> None:
    target = target_on(MemoryLog())
    submission = target.submission(line())
    async with collecting(target) as results:
        job_id = await submission.send()
        results.write(terminal("somebody-elses"))
        results.write(terminal(job_id, value=b'{"predictions":[3]}'))
        results.write(terminal(job_id, Status.FAILED))
        ending = await submission.ending()

    assert ending.status is LineStatus.SUCCEEDED
    assert json.loads(bytes(ending.result)) == {"predictions": [3]}


async def test_a_failed_job_tells_its_error() -> None:
    target = target_on(MemoryLog())
    submission = target.submission(line())
    async with collecting(target) as results:
        results.write(terminal(await submission.send(), Status.FAILED))
        ending = await submission.ending()

    assert ending.status is LineStatus.FAILED
    assert json.loads(bytes(ending.error))["code"] == "inference_failed"


async def test_a_record_that_may_have_been_written_is_written_again_as_the_same_job() -> None:
    queue = MemoryLog()
    queue.fail_next = [OutcomeUnknown("no acknowledgement")]

    job_id = await target_on(queue).submission(line()).send()

    assert [record.key for record in queue.records(TOPIC)] == [job_id.encode()]


async def test_a_record_that_is_too_large_is_the_lines_own_fault() -> None:
    with pytest.raises(PayloadTooLarge):
        await target_on(MemoryLog(max_record_bytes=10)).submission(line()).send()


async def test_a_job_without_a_result_by_its_deadline_is_told_as_unknown() -> None:
    target = target_on(MemoryLog(), grace_s=0)
    submission = target.submission(line(timeout_s=0.01))
    async with collecting(target):
        await submission.send()
        ending = await submission.ending()

    assert ending.status is LineStatus.UNKNOWN
    assert json.loads(bytes(ending.error))["code"] == "no_result"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": "No.Such"}, "model"),
        ({"version": "no such"}, "version"),
        ({"timeout_s": timedelta.max.total_seconds()}, "timeout_s"),
    ],
)
def test_what_no_job_can_be_is_refused_before_it_is_sent(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        target_on(MemoryLog()).submission(line(**changes))

    assert caught.value.param == field
