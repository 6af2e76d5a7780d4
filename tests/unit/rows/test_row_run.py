"""A run of rows: in order, each once, through whatever ends it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.memory import MemoryLog
from producers.rows.answers import answers_of
from producers.rows.journal import Journal, Plan, beside
from producers.rows.run import GRACE_S, RowRun
from producers.rows.sources import Chunk, chunks, rows_of
from producers.window import FIRST_ROWS
from schemas.errors import Conflict, ModelCrashed, QueueUnavailable
from schemas.jobs import Payload, Terminal, end_of
from schemas.oip import parse_request
from schemas.records import LaneJob, OutRecord
from tests.unit.inference.jobs import SIGNATURE, lane_job
from tests.unit.inference.models import Adder
from tests.unit.inference.running import room_for, run_all
from tests.waiting import eventually
from workers.consuming.protocols import Record
from workers.inference.batching.pending_job import PendingJob
from workers.inference.execution.runner import Runner
from workers.inference.results.outcomes import outcome_of

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
TOPIC = "requests"
BLOCK = 10


def plan() -> Plan:
    return Plan(run_id="r", source="a", size=1, modified_ns=1, model="adder", version="1", block_rows=BLOCK)


def given_rows(rows: int) -> Iterator[Chunk]:
    return chunks(rows_of([[float(row)] for row in range(rows)]), BLOCK)


class Worker:
    """Answers what lies in the topic, as router and worker do; `crashing` rows end their process."""

    def __init__(self, poison: Iterable[float] = (), crashing: Iterable[float] = ()) -> None:
        self.log = MemoryLog(partitions=1)
        self.model = Adder(poison=frozenset(poison))
        self.crashing = frozenset(crashing)
        self.answers: asyncio.Queue[Terminal] = asyncio.Queue()
        self.answered = 0
        self.log.on_write.append(self.work)
        self.held = False

    def work(self) -> None:
        while not self.held and self.answered < len(self.records):
            self.answers.put_nowait(self._ran(self.records[self.answered]))
            self.answered += 1

    @property
    def records(self) -> list[OutRecord]:
        return self.log.records(TOPIC)

    async def terminals(self) -> AsyncIterator[Terminal]:
        while True:
            yield await self.answers.get()

    def _ran(self, out: OutRecord) -> Terminal:
        headers = dict(out.headers)
        assert out.value is not None
        job: LaneJob = lane_job(headers["ce_id"].decode(), row_errors=headers["ce_rowerrors"] == b"true")
        payload = Payload(out.value, headers["content-type"].decode(), int(headers["ce_jsonlength"]))
        request = parse_request(SIGNATURE, payload)
        if self.crashing.intersection(request.inputs["x"].ravel().tolist()):
            return end_of(job, ModelCrashed("it ended the process"), NOON, rows=request.rows)
        item = PendingJob(Record("t", 0, 0, 1, None, out.value, (), 0), job, request)
        (result,) = run_all(Runner(self.model, SIGNATURE, room_for(64)), [item]).outcomes
        outcome = outcome_of(SIGNATURE, item, result, NOON, NOON, ())
        assert isinstance(outcome, Terminal)
        return outcome


def run_of(journal: Journal, worker: Worker, now: datetime = NOON) -> RowRun:
    return RowRun(journal, SIGNATURE, worker.log, TOPIC, now=lambda: now, window_s=10, timeout_s=60)


def lines_in(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_exact(path: Path, rows: int, bad: Iterable[int] = ()) -> None:
    lines = lines_in(path)
    assert [line["row"] for line in lines] == list(range(rows))
    for line in lines:
        if line["row"] in list(bad):
            assert line["status"] == "failed"
            assert line["error"]
        else:
            assert line["prediction"] == {"same": [line["row"]], "double": [2 * line["row"]]}  # type: ignore[operator]


async def test_each_row_has_its_line_in_order(tmp_path: Path) -> None:
    worker, output = Worker(poison=[7, 33]), tmp_path / "out.jsonl"
    with Journal.begin(output, plan()) as journal:
        run = run_of(journal, worker)
        await run.run(given_rows(95), worker.terminals())
        assert (journal.blocks, journal.failed) == (10, 2)
    assert_exact(output, 95, bad=[7, 33])
    assert (run.progress.rows, run.progress.failed, run.progress.in_lane) == (95, 2, 0)
    assert len(worker.records) == 10


async def test_a_row_that_does_not_fit_is_not_sent(tmp_path: Path) -> None:
    worker, output = Worker(), tmp_path / "out.jsonl"
    rows = [[1.0], ["x"], [2.0], [float("nan")]]
    with Journal.begin(output, plan()) as journal:
        await run_of(journal, worker).run(chunks(rows_of(rows), BLOCK), worker.terminals())
    assert [line["status"] for line in lines_in(output)] == ["succeeded", "failed", "succeeded", "failed"]
    assert len(worker.records) == 1


async def test_a_row_that_ends_its_process_is_found_by_halves(tmp_path: Path) -> None:
    worker, output = Worker(crashing=[13.0]), tmp_path / "out.jsonl"
    with Journal.begin(output, plan()) as journal:
        await run_of(journal, worker).run(given_rows(30), worker.terminals())
    assert_exact(output, 30, bad=[13])


async def test_no_more_is_under_way_than_the_window_holds(tmp_path: Path) -> None:
    worker, output = Worker(), tmp_path / "out.jsonl"
    worker.held = True
    with Journal.begin(output, plan()) as journal:
        running = asyncio.create_task(run_of(journal, worker).run(given_rows(5000), worker.terminals()))
        await eventually(lambda: _is(len(worker.records) == FIRST_ROWS / BLOCK), 10, "the window is full")
        worker.held = False
        worker.work()
        await running
    assert_exact(output, 5000)


async def _is(condition: bool) -> bool:
    return condition


async def test_what_kafka_does_not_take_is_sent_again(tmp_path: Path) -> None:
    worker, output = Worker(), tmp_path / "out.jsonl"
    worker.log.fail_next = [QueueUnavailable("away"), None]
    with Journal.begin(output, plan()) as journal:
        await run_of(journal, worker).run(given_rows(20), worker.terminals())
    assert_exact(output, 20)


async def test_rows_whose_answer_does_not_come_end_after_their_deadline(tmp_path: Path) -> None:
    worker, output = Worker(), tmp_path / "out.jsonl"
    worker.held = True
    now = [NOON]
    with Journal.begin(output, plan()) as journal:
        run = RowRun(journal, SIGNATURE, worker.log, TOPIC, now=lambda: now[0], window_s=10, timeout_s=60)
        running = asyncio.create_task(run.run(given_rows(10), worker.terminals()))
        await eventually(lambda: _is(len(worker.records) == 1), 10, "it is sent")
        now[0] = NOON + timedelta(seconds=61 + GRACE_S)
        await running
    assert {str(line["error"]["code"]) for line in lines_in(output)} == {"deadline_exceeded"}  # type: ignore[index]


@given(cuts=st.lists(st.integers(1, 12), max_size=4), torn=st.integers(0, 60), torn_log=st.integers(0, 30))
async def test_resumed_after_any_end_no_row_is_lost_and_none_is_there_twice(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], torn: int, torn_log: int
) -> None:
    output = tmp_path_factory.mktemp("run") / "out.jsonl"
    journal = Journal.begin(output, plan())
    for cut in cuts:
        written = 0

        def write(text: bytes, failed: int, of: Journal = journal, last: int = cut) -> None:
            nonlocal written
            written += 1
            if written == last:
                raise RuntimeError
            Journal.write(of, text, failed)

        with journal:
            journal.write = write  # type: ignore[method-assign]
            worker = Worker(poison=[7])
            with suppress(BaseExceptionGroup):
                await run_of(journal, worker).run(given_rows(95), worker.terminals())
        # The process ended while it wrote: what is behind the journal's last word is of any kind
        for path, size in ((output, torn), (beside(output), torn_log)):
            with path.open("ab") as file:
                file.write(b'{"row": 5, "stat' * 4 if size > 30 else b"{" * size)
        journal = Journal.resume(output)
    with journal:
        worker = Worker(poison=[7])
        await run_of(journal, worker).run(given_rows(95), worker.terminals())
    assert_exact(output, 95, bad=[7])
    assert journal.failed == 1


def test_an_output_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(Conflict, match="is there"):
        Journal.begin(tmp_path / "out.jsonl", plan())
    with pytest.raises(Conflict, match="no run writes"):
        Journal.resume(tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "mine"


def test_a_journal_that_says_more_than_the_output_holds_is_not_believed(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with Journal.begin(output, plan()) as journal:
        journal.write(b"a\n", 0)
        journal.write(b"b\n", 1)
    output.write_bytes(b"a\n")
    known = Journal.resume(output)
    assert (known.blocks, known.failed) == (1, 0)


async def test_an_answer_that_comes_as_its_time_is_up_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, output = Worker(), tmp_path / "out.jsonl"
    now, slow, going = [NOON], asyncio.Event(), asyncio.Event()

    async def slowly(work: Any, *arguments: Any) -> Any:
        if work is answers_of:
            slow.set()
            await going.wait()
        return work(*arguments)

    monkeypatch.setattr("producers.rows.run.asyncio.to_thread", slowly)
    with Journal.begin(output, plan()) as journal:
        run = RowRun(journal, SIGNATURE, worker.log, TOPIC, now=lambda: now[0], window_s=10, timeout_s=60)
        running = asyncio.create_task(run.run(given_rows(20), worker.terminals()))
        await slow.wait()
        now[0] = NOON + timedelta(seconds=61 + GRACE_S)
        await eventually(lambda: _is(journal.blocks > 0), 10, "its time is up")
        going.set()
        await running
    assert len(lines_in(output)) == 20


async def test_what_json_cannot_say_is_the_error_of_its_row(tmp_path: Path) -> None:
    worker, output = Worker(), tmp_path / "out.jsonl"
    rows = [[1.0], [3e38], [2.0]]  # the double of the second is infinite
    with Journal.begin(output, plan()) as journal:
        await run_of(journal, worker).run(chunks(rows_of(rows), BLOCK), worker.terminals())
    assert [line["status"] for line in lines_in(output)] == ["succeeded", "failed", "succeeded"]
