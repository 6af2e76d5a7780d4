"""Files and batches, in memory and in Postgres: what clients ask for, and what a feeder changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import msgspec
import pytest

from schemas.batches import (
    Batch,
    BatchStatus,
    Block,
    BlockLine,
    Counts,
    Cursor,
    File,
    LineEnd,
    LineError,
    Part,
    PartKind,
    Purpose,
)
from schemas.errors import Conflict, FileNotFound, IdempotencyMismatch, InvalidInput, StoreUnavailable
from schemas.jobs import Job, Status
from schemas.topics import LaneClass
from schemas.webhooks import EventType
from stores import batch_changes
from stores.batches import Batches, BatchWork, Beginning, Files, Lead, LeadLost, Step
from stores.memory_batches import BatchState, MemoryBatches, MemoryBatchWork, MemoryFiles
from stores.memory_webhook_events import MemoryEvents
from stores.memory_webhook_state import WebhookState
from stores.postgres import PostgresJobs
from stores.postgres.batches.batches import PostgresBatches
from stores.postgres.batches.files import PostgresFiles
from stores.postgres.batches.work import PostgresBatchWork
from stores.protocols import IdempotencyKey, JobKey
from stores.webhooks import DeliveryFilter, DeliveryLog, Endpoints
from tests.waiting import eventually
from tests.webhooks import endpoint

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
ENDPOINT = "/v1/models/digits/jobs"
START = Cursor()


class All(NamedTuple):
    files: Files
    batches: Batches
    work: BatchWork
    state: BatchState | None
    dsn: str | None


@pytest.fixture
async def stores(dsn: str | None, webhook_state: WebhookState) -> AsyncIterator[All]:
    if dsn is None:
        state = BatchState()
        work = MemoryBatchWork(state, MemoryEvents(webhook_state), lead_s=1.0)
        yield All(MemoryFiles(state), MemoryBatches(state), work, state, None)
        return
    async with AsyncExitStack() as stack:
        files = await stack.enter_async_context(PostgresFiles(dsn, connections=2))
        batches = await stack.enter_async_context(PostgresBatches(dsn, connections=2))
        yield All(files, batches, await stack.enter_async_context(PostgresBatchWork(dsn, lead_s=1.0)), None, dsn)


def file(number: int = 1, **more: Any) -> File:
    fields: dict[str, Any] = {
        "tenant": "default",
        "id": f"file_{number:032x}",
        "purpose": Purpose.BATCH,
        "filename": "jobs.jsonl",
        "bytes": 1000,
        "created_at": NOON,
        "key": f"files/default/{number}",
    }
    return File(**(fields | more))


def batch(number: int = 1, **more: Any) -> Batch:
    fields: dict[str, Any] = {
        "tenant": "default",
        "id": f"batch_{number:032x}",
        "endpoint": ENDPOINT,
        "input_file_id": file().id,
        "completion_window": "24h",
        "status": BatchStatus.VALIDATING,
        "created_at": NOON,
        "expires_at": NOON + timedelta(days=1),
        "metadata": {"order": "17"},
    }
    return Batch(**(fields | more))


def block(number: int, lines: int = 2) -> Block:
    first = number * lines + 1
    told = tuple(BlockLine(first + each, 10 * each, 10, 1, f"line-{first + each}") for each in range(lines))
    return Block(number=number, job_id=f"job_{number:032x}", lines=told)


def job_of(each: Block, batch_id: str) -> Job:
    return Job(
        tenant="default",
        id=each.job_id,
        model="digits",
        version="2",
        lane=LaneClass.BULK,
        created_at=NOON,
        expires_at=NOON + timedelta(days=1),
        status=Status.QUEUED,
        rows=each.rows,
        batch_id=batch_id,
    )


def part(number: int, kind: PartKind = PartKind.OUTPUT) -> Part:
    return Part(kind=kind, number=number, key=f"parts/{kind}/{number}", bytes=100, lines=2)


def feeding(batch_id: str, *numbers: int, before: Cursor = START) -> Step:
    blocks = [block(number) for number in numbers]
    after = Cursor(offset=before.offset + 100, line=before.line + 2 * len(blocks), block=before.block + len(blocks))
    jobs = [job_of(each, batch_id) for each in blocks]
    return Step(batch_id=batch_id, before=before, after=after, blocks=blocks, jobs=jobs)


def collecting(batch_id: str, at: Cursor, *numbers: int, parts: tuple[Part, ...] = (), **ends: int) -> Step:
    counted = {LineEnd(name): count for name, count in ends.items()}
    return Step(batch_id=batch_id, before=at, after=at, over=numbers, ends=counted, parts=parts)


FOUND = Beginning(total=4, model="digits", version="2", revision=7)


async def begun(stores: All, number: int = 1) -> tuple[Lead, Batch]:
    await stores.files.add(file(number))
    await stores.batches.add(batch(number, input_file_id=file(number).id))
    lead = await stores.work.lead("one")
    assert lead is not None
    started = await stores.work.begin(lead, batch(number).id, FOUND, NOON)
    assert started is not None
    return lead, started


async def test_a_file_is_found_by_its_tenant_alone_until_its_time_is_over(stores: All) -> None:
    kept = file(expires_at=NOON + timedelta(hours=1))
    await stores.files.add(kept)
    assert await stores.files.get("default", kept.id, NOON) == kept
    assert await stores.files.get("other", kept.id, NOON) is None
    assert await stores.files.get("default", kept.id, NOON + timedelta(hours=1)) is None
    assert await stores.files.expired(NOON, limit=10) == []
    assert await stores.files.expired(NOON + timedelta(hours=1), limit=10) == [kept]


async def test_files_are_listed_in_either_order_also_behind_one_that_is_gone(stores: All) -> None:
    for number in range(1, 5):
        purpose = Purpose.BATCH if number % 2 else Purpose.BATCH_OUTPUT
        await stores.files.add(file(number, purpose=purpose))
    await stores.files.add(file(9, tenant="other"))
    await stores.files.remove("default", file(2).id)

    async def listed(**more: Any) -> list[str]:
        asked: dict[str, Any] = {"after": None, "limit": 10, "ascending": False, "purpose": None} | more
        return [each.id for each in await stores.files.list("default", NOON, **asked)]

    assert await listed() == [file(4).id, file(3).id, file(1).id]
    assert await listed(ascending=True, limit=2) == [file(1).id, file(3).id]
    assert await listed(after=file(2).id) == [file(1).id]
    assert await listed(after=file(2).id, ascending=True) == [file(3).id, file(4).id]
    assert await listed(purpose=Purpose.BATCH) == [file(3).id, file(1).id]
    assert await listed(after="\0") in ([], await listed())


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
async def test_a_name_that_no_store_can_hold_is_refused(stores: All, name: str) -> None:
    with pytest.raises(InvalidInput):
        await stores.files.add(file(filename=name))
    await stores.files.add(file())
    with pytest.raises(InvalidInput):
        await stores.batches.add(batch(metadata={"a": "a\0b"}))
    assert await stores.files.get("default", name, NOON) is None
    assert await stores.batches.get("default", name) is None
    assert await stores.batches.cancel("default", name, NOON) is None


async def test_a_file_stays_while_a_batch_reads_it(stores: All) -> None:
    lead, started = await begun(stores)
    with pytest.raises(Conflict, match="has not ended"):
        await stores.files.remove("default", started.input_file_id)
    await stores.work.refuse(lead, started.id, [LineError(code="x", message="x", line=1)], 1, NOON)
    assert await stores.files.remove("other", started.input_file_id) is None
    assert await stores.files.remove("default", started.input_file_id) == file()
    assert await stores.files.remove("default", started.input_file_id) is None


async def test_a_batch_needs_its_input(stores: All) -> None:
    with pytest.raises(FileNotFound):
        await stores.batches.add(batch())
    await stores.files.add(file(tenant="other"))
    with pytest.raises(FileNotFound):
        await stores.batches.add(batch())
    await stores.files.add(file(2, expires_at=NOON))
    with pytest.raises(FileNotFound):
        await stores.batches.add(batch(input_file_id=file(2).id))


async def test_a_key_is_of_one_batch(stores: All) -> None:
    await stores.files.add(file())
    key, other = IdempotencyKey("again", b"a"), IdempotencyKey("again", b"b")
    assert await stores.batches.recall("default", key) is None
    assert await stores.batches.add(batch(1), key) == batch(1)
    assert await stores.batches.add(batch(2), key) == batch(1)
    assert await stores.batches.recall("default", key) == batch(1)
    assert await stores.batches.recall("other", other) is None
    assert await stores.batches.get("default", batch(2).id) is None
    for refused in (stores.batches.recall("default", other), stores.batches.add(batch(3), other)):
        with pytest.raises(IdempotencyMismatch, match="'again' was used with another request"):
            await refused
    assert await stores.batches.add(batch(4)) == batch(4)


async def test_of_many_that_come_with_a_key_at_once_one_is_made(stores: All) -> None:
    await stores.files.add(file())
    key = IdempotencyKey("at once", b"a")
    made = await asyncio.gather(*(stores.batches.add(batch(number), key) for number in range(1, 9)))
    assert len({each.id for each in made}) == 1
    assert [each.id for each in await stores.batches.list("default", after=None, limit=9)] == [made[0].id]


async def test_a_tenant_has_so_many_open_batches_and_files(stores: All, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_changes, "MOST_OPEN_BATCHES", 1)
    monkeypatch.setattr(batch_changes, "MOST_FILES", 1)
    await begun(stores)
    with pytest.raises(Conflict):
        await stores.batches.add(batch(2))
    with pytest.raises(Conflict):
        await stores.files.add(file(2))
    await stores.files.add(file(2, tenant="other"))


async def test_batches_are_listed_newest_first_and_found_by_their_tenant_alone(stores: All) -> None:
    await stores.files.add(file())
    for number in (1, 2, 3):
        await stores.batches.add(batch(number))
    assert [each.id for each in await stores.batches.list("default", after=None, limit=2)] == [batch(3).id, batch(2).id]
    assert await stores.batches.list("default", after=batch(2).id, limit=2) == [batch(1)]
    assert await stores.batches.list("other", after=None, limit=2) == []
    assert await stores.batches.get("other", batch(1).id) is None
    assert await stores.batches.cancel("other", batch(1).id, NOON) is None
    assert await stores.batches.get("default", batch(1).id) == batch(1)


async def test_a_batch_goes_from_validating_to_completed_and_each_step_is_all_or_nothing(stores: All) -> None:
    lead, started = await begun(stores)
    assert (started.status, started.in_progress_at, started.counts) == (BatchStatus.IN_PROGRESS, NOON, Counts(total=4))
    assert (started.model, started.version, started.revision) == ("digits", "2", 7)

    fed = feeding(started.id, 0, 1)
    assert await stores.work.advance(lead, fed)
    assert not await stores.work.advance(lead, fed), "the cursor has moved"
    known = await stores.work.resume(started.id)
    assert known is not None
    assert (known.cursor, known.blocks, known.parts) == (fed.after, list(fed.blocks), {})
    await assert_jobs(stores, fed)

    first = collecting(started.id, fed.after, 0, parts=(part(0), part(0, PartKind.ERROR)), completed=1, failed=1)
    assert await stores.work.advance(lead, first)
    assert not await stores.work.advance(lead, first), "the block is over"
    again = collecting(started.id, fed.after, 1, parts=(part(0),), completed=2)
    assert not await stores.work.advance(lead, again), "the part is there"
    with pytest.raises(ValueError, match="no end"):
        await stores.work.end(lead, started.id, BatchStatus.COMPLETED, [], NOON)
    last = collecting(started.id, fed.after, 1, parts=(part(1),), completed=2)
    assert await stores.work.advance(lead, last)
    now = await stores.batches.get("default", started.id)
    assert now is not None
    assert now.counts == Counts(total=4, completed=3, failed=1)
    assert await stores.batches.parts(started.id, PartKind.OUTPUT, after=-1, limit=10) == [part(0), part(1)]
    assert await stores.batches.parts(started.id, PartKind.OUTPUT, after=0, limit=10) == [part(1)]
    assert await stores.batches.parts(started.id, PartKind.ERROR, after=-1, limit=10) == [part(0, PartKind.ERROR)]

    output = file(7, purpose=Purpose.BATCH_OUTPUT, key=None, batch_id=started.id, kind=PartKind.OUTPUT)
    done = await stores.work.end(lead, started.id, BatchStatus.COMPLETED, [output], NOON)
    assert done is not None
    assert (done.status, done.output_file_id, done.error_file_id, done.ended_at) == ("completed", output.id, None, NOON)
    assert await stores.batches.get("default", started.id) == done
    assert await stores.files.get("default", output.id, NOON) == output
    assert await stores.work.open() == []
    assert await stores.work.resume(started.id) is None
    assert not await stores.work.advance(lead, last)
    assert await stores.work.end(lead, started.id, BatchStatus.COMPLETED, [], NOON) is None


async def assert_jobs(stores: All, step: Step) -> None:
    if stores.state is not None:
        assert stores.state.jobs == list(step.jobs)
        return
    assert stores.dsn is not None
    async with PostgresJobs(stores.dsn) as jobs:
        for each in step.jobs:
            assert await jobs.get(JobKey("default", each.id)) == each


async def test_more_ends_than_lines_are_a_mistake_that_changes_nothing(stores: All) -> None:
    lead, started = await begun(stores)
    with pytest.raises(ValueError, match="more lines have ended"):
        await stores.work.advance(lead, collecting(started.id, START, parts=(part(0),), completed=5))
    assert await stores.batches.get("default", started.id) == started
    assert await stores.batches.parts(started.id, PartKind.OUTPUT, after=-1, limit=10) == []


async def test_a_block_is_divided_in_one_step(stores: All) -> None:
    lead, started = await begun(stores)
    fed = feeding(started.id, 0)
    assert await stores.work.advance(lead, fed)
    halves = [msgspec.structs.replace(block(0), number=number) for number in (1, 2)]
    after = msgspec.structs.replace(fed.after, block=3)
    divided = Step(batch_id=started.id, before=fed.after, after=after, blocks=halves, over=[0])
    assert await stores.work.advance(lead, divided)
    known = await stores.work.resume(started.id)
    assert known is not None
    assert [each.number for each in known.blocks] == [1, 2]


async def test_cancelling_is_asked_for_once_and_ends_with_the_last_line(stores: All) -> None:
    lead, started = await begun(stores)
    cancelled = await stores.batches.cancel("default", started.id, NOON)
    assert cancelled is not None
    assert (cancelled.status, cancelled.cancelling_at) == (BatchStatus.CANCELLING, NOON)
    assert await stores.batches.cancel("default", started.id, NOON + timedelta(hours=1)) == cancelled
    assert await stores.work.open() == [cancelled]
    assert await stores.work.begin(lead, started.id, FOUND, NOON) == cancelled, "validated meanwhile"
    assert await stores.work.advance(lead, collecting(started.id, START, completed=1, cancelled=3))
    ended = await stores.work.end(lead, started.id, BatchStatus.CANCELLED, [], NOON)
    assert ended is not None
    assert await stores.batches.cancel("default", started.id, NOON) == ended


async def test_an_input_that_is_not_valid_ends_its_batch_with_the_first_of_its_errors(stores: All) -> None:
    await stores.files.add(file())
    await stores.batches.add(batch())
    lead = await stores.work.lead("one")
    assert lead is not None
    errors = [LineError(code="duplicate", message="twice", line=number) for number in range(1, 1500)]
    failed = await stores.work.refuse(lead, batch().id, errors, 1499, NOON)
    assert failed is not None
    assert (failed.status, len(failed.errors), failed.line_errors) == (BatchStatus.FAILED, 1000, 1499)
    assert await stores.batches.get("default", batch().id) == failed


async def test_who_lost_the_lease_writes_nothing(stores: All) -> None:
    lead, started = await begun(stores)
    assert await stores.work.lead("two") is None
    assert await stores.work.lead("one") == lead

    async def taken() -> bool:
        return await stores.work.lead("two") is not None

    await eventually(taken, 5, "the lease runs out")
    output = file(7, purpose=Purpose.BATCH_OUTPUT)
    writes = (
        stores.work.begin(lead, started.id, FOUND, NOON),
        stores.work.refuse(lead, started.id, [], 0, NOON),
        stores.work.advance(lead, feeding(started.id, 0)),
        stores.work.estimate(lead, {started.id: NOON}),
        stores.work.end(lead, started.id, BatchStatus.COMPLETED, [output], NOON),
    )
    for write in writes:
        with pytest.raises(LeadLost):
            await write
    await stores.work.leave(lead)  # no longer ours to leave
    assert await stores.work.lead("three") is None
    assert await stores.batches.get("default", started.id) == started
    assert await stores.files.get("default", output.id, NOON) is None


async def test_who_leaves_lets_another_feed_at_once(stores: All) -> None:
    lead = await stores.work.lead("one")
    assert lead is not None
    await stores.work.leave(lead)
    assert await stores.work.lead("two") is not None


async def test_when_it_should_end_is_told(stores: All) -> None:
    lead, started = await begun(stores)
    await stores.work.estimate(lead, {started.id: NOON + timedelta(hours=1), "batch_unknown": NOON})
    found = await stores.batches.get("default", started.id)
    assert found is not None
    assert found.estimated_completion_at == NOON + timedelta(hours=1)


async def test_the_input_is_there_for_the_feeder_though_its_time_is_over(stores: All) -> None:
    await stores.files.add(file(expires_at=NOON + timedelta(hours=1)))
    await stores.batches.add(batch())
    assert await stores.work.input_of(batch()) == file(expires_at=NOON + timedelta(hours=1))
    assert await stores.files.expired(NOON + timedelta(days=1), limit=10) == []
    assert await stores.work.input_of(batch(tenant="other")) is None


async def test_an_ended_batch_is_kept_as_long_as_its_outputs(stores: All) -> None:
    lead, started = await begun(stores)
    await stores.work.advance(lead, collecting(started.id, START, parts=(part(0),), completed=4))
    output = file(7, purpose=Purpose.BATCH_OUTPUT, key=None, batch_id=started.id, kind=PartKind.OUTPUT)
    await stores.work.end(lead, started.id, BatchStatus.COMPLETED, [output], NOON)
    later = NOON + timedelta(days=1)
    assert await stores.work.forget(later, limit=10) == 0
    await stores.files.remove("default", output.id)
    assert await stores.work.forget(NOON, limit=10) == 0
    assert await stores.work.forget(later, limit=10) == 1
    assert await stores.batches.get("default", started.id) is None


async def test_a_batch_is_forgotten_whatever_its_errors_quote(stores: All) -> None:
    await stores.files.add(file())
    await stores.batches.add(batch())
    lead = await stores.work.lead("one")
    assert lead is not None
    quoting = LineError(code="invalid_json_line", message="unknown field `x\0`", line=1, param="x\0")
    failed = await stores.work.refuse(lead, batch().id, [quoting], 1, NOON)
    assert failed is not None
    assert failed.errors[0].message == "unknown field `x\ufffd`"
    assert await stores.work.forget(NOON + timedelta(days=1), limit=10) == 1


async def test_metadata_may_speak_of_what_it_may_not_hold(stores: All) -> None:
    await stores.files.add(file())
    with pytest.raises(InvalidInput):
        await stores.batches.add(batch(1, metadata={"a": "\0"}))
    await stores.batches.add(batch(2, metadata={"a": "\\u0000"}))
    found = await stores.batches.get("default", batch(2).id)
    assert found is not None
    assert found.metadata == {"a": "\\u0000"}


async def test_changes_are_told_to_endpoints_of_the_tenant(stores: All, endpoints: Endpoints, log: DeliveryLog) -> None:
    subscribed = (EventType.BATCH_IN_PROGRESS, EventType.BATCH_FAILED)
    await endpoints.add(endpoint("we_a", event_types=subscribed))
    await endpoints.add(endpoint("we_b"))
    lead, started = await begun(stores)
    await stores.work.begin(lead, started.id, FOUND, NOON)
    await stores.work.refuse(lead, started.id, [], 0, NOON)
    found = (await log.list("default", DeliveryFilter(), after=None, limit=10)).deliveries
    assert sorted((each.revision, each.event_type, each.subject, each.target) for each in found) == [
        (2, "batch.in_progress", started.id, "we_a"),
        (3, "batch.failed", started.id, "we_a"),
    ]
    assert {each.facts["request_counts"]["total"] for each in found} == {4}


async def test_counts_add_up_whoever_reads_them_meanwhile(stores: All) -> None:
    lead, started = await begun(stores)
    assert await stores.work.advance(lead, feeding(started.id, 0, 1))
    at = feeding(started.id, 0, 1).after

    async def reads() -> None:
        for _ in range(50):
            found = await stores.batches.get("default", started.id)
            assert found is not None
            counts = found.counts
            assert counts.total == counts.completed + counts.failed + counts.processing == 4
            await asyncio.sleep(0)

    async def writes() -> None:
        await stores.work.advance(lead, collecting(started.id, at, 0, completed=1, failed=1))
        await stores.work.advance(lead, collecting(started.id, at, 1, completed=2))

    await asyncio.gather(reads(), writes())


async def test_a_step_that_is_cut_off_leaves_nothing(stores: All, monkeypatch: pytest.MonkeyPatch) -> None:
    if stores.dsn is None:
        pytest.skip("in memory nothing is cut off")
    lead, started = await begun(stores)

    async def cut(*_: object) -> None:
        raise asyncpg.ConnectionDoesNotExistError("cut off")

    monkeypatch.setattr("stores.postgres.batches.work.insert_queued", cut)
    with pytest.raises(StoreUnavailable):
        await stores.work.advance(lead, feeding(started.id, 0))
    known = await stores.work.resume(started.id)
    assert known is not None
    assert (known.cursor, list(known.blocks)) == (START, [])
