"""A batch through the sink: what becomes durable, who is woken, and when a record is done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

import workers.sink.pipeline
from schemas.errors import DeadlineExceeded
from schemas.jobs import Payload, Status
from schemas.records import OutRecord
from stores.protocols import JobKey
from tests.unit.sink.ends import DEAD_LETTERS, SUCCEEDED, TOPICS, Basin, basin, out, succeeded, with_header
from tests.waiting import eventually
from workers.sink.pipeline import TOLD_RESULT_BYTES

NO_END = OutRecord(TOPICS.results, b"k", b"hello", [])


@pytest.fixture
async def sink() -> AsyncIterator[Basin]:
    async with basin() as opened:
        yield opened


async def test_ends_become_durable_and_their_records_done(sink: Basin) -> None:
    await sink.work(out(succeeded("a")), out(succeeded("b")))
    for job_id in ("a", "b"):
        job = await sink.stored(job_id)
        assert job is not None
        assert job.status is Status.SUCCEEDED
    assert sink.member.open_count == 0


async def test_the_first_end_of_a_job_counts(sink: Basin) -> None:
    late = succeeded("a", status=Status.FAILED, result=None, error=DeadlineExceeded("late").body())
    await sink.work(out(succeeded("a")), out(late))
    await sink.work(out(late))
    job = await sink.stored("a")
    assert job is not None
    assert job.status is Status.SUCCEEDED


async def test_only_those_whose_job_has_ended_now_are_woken(sink: Basin) -> None:
    async with aclosing(sink.signals.done()) as news:  # type: ignore[type-var]
        woken = asyncio.ensure_future(anext(news))
        await eventually(lambda: sink.signals.connected)
        await sink.work(out(succeeded("a")), out(succeeded("b")))
        assert set(await woken) == {JobKey("default", "a"), JobKey("default", "b")}

        woken = asyncio.ensure_future(anext(news))
        await sink.work(out(succeeded("a")))
        await sink.work(out(succeeded("c")))
        assert list(await woken) == [JobKey("default", "c")]


async def test_a_gateway_that_waits_is_told_the_end_that_counts(sink: Basin) -> None:
    large = Payload(b"7" * (TOLD_RESULT_BYTES + 1))
    first = succeeded("a", reply_to="gw-1", metadata={"n": 1})
    async with aclosing(sink.signals.done("gw-1")) as news:  # type: ignore[type-var]
        told = asyncio.ensure_future(anext(news))
        await eventually(lambda: sink.signals.connected)
        await sink.work(
            out(first),
            out(succeeded("a", reply_to="gw-1", result=Payload(b"2"))),
            out(succeeded("b", reply_to="gw-1", result=large)),
            out(succeeded("c")),
        )
        assert list(await told) == [first]
        assert set(await anext(news)) == {JobKey("default", job_id) for job_id in "abc"}
        await sink.work(out(succeeded("a", reply_to="gw-1")), out(succeeded("d")))
        assert list(await anext(news)) == [JobKey("default", "d")]


async def test_without_signals_ends_are_durable_all_the_same(sink: Basin) -> None:
    sink.signals.down = True
    await sink.work(out(succeeded("a")))
    assert await sink.stored("a") is not None
    assert sink.member.open_count == 0


async def test_while_the_store_is_away_nothing_is_done_and_nothing_is_lost(sink: Basin) -> None:
    sink.jobs.down = True
    working = asyncio.create_task(sink.work(out(succeeded("a")), NO_END))
    await eventually(lambda: sink.member.open_count == 2)
    with pytest.raises(AssertionError, match="not within"):
        await eventually(lambda: sink.member.open_count < 2, timeout_s=0.1)

    sink.jobs.down = False
    await working
    assert await sink.stored("a") is not None
    assert sink.member.open_count == 0


async def test_a_batch_that_was_lost_meanwhile_is_left_to_its_new_owner(sink: Basin) -> None:
    sink.jobs.down = True
    working = asyncio.create_task(sink.work(out(succeeded("a"))))
    await eventually(lambda: sink.member.open_count == 1)
    sink.member.lose_all()
    await working
    assert sink.group.committed == {}


@pytest.mark.parametrize(
    "record",
    [
        NO_END,
        OutRecord(TOPICS.results, None, None, []),
        with_header(out(SUCCEEDED), "ce_status", b"running"),
        with_header(out(SUCCEEDED), "ce_tenant", b"a\0b"),
        with_header(out(SUCCEEDED), "ce_model", b"a\0b"),
        with_header(out(SUCCEEDED), "content-type", b"a\0b"),
        with_header(out(SUCCEEDED), "ce_rows", b"99999999999"),
        with_header(out(SUCCEEDED), "ce_rows", b"-1"),
        with_header(out(SUCCEEDED), "ce_jsonlength", b"99999999999"),
        with_header(out(SUCCEEDED), "ce_createdtime", b"0001-01-01T00:00:00+05:00"),
        with_header(out(SUCCEEDED), "ce_startedtime", b"9999-12-31T23:59:59-05:00"),
    ],
)
async def test_what_ends_no_job_is_a_dead_letter_and_its_neighbors_go_on(sink: Basin, record: OutRecord) -> None:
    await sink.work(out(succeeded("a")), record, out(succeeded("b")))

    (letter,) = sink.log.records(DEAD_LETTERS)
    assert (letter.key, letter.value) == (record.key, record.value)
    assert dict(letter.headers)["__dlq.errors.group"] == b"penstock.sink"
    assert await sink.stored("a") is not None
    assert await sink.stored("b") is not None
    assert sink.member.open_count == 0


async def test_a_record_that_the_sink_fails_over_is_a_dead_letter(sink: Basin, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(workers.sink.pipeline, "read_terminal_record", faulty)
    await sink.work(out(succeeded("a")))
    (letter,) = sink.log.records(DEAD_LETTERS)
    assert b"ZeroDivisionError" in dict(letter.headers)["__dlq.errors.message"]
