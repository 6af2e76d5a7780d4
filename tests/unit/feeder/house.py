"""A feeder over twins, with a lane that is worked off by the worker's own code."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from producers.catalog import Catalog
from producers.memory import MemoryLog
from producers.routes import Routes
from schemas.batches import Batch, BatchStatus, File, PartKind, Purpose, new_batch_id, new_file_id
from schemas.catalog import CatalogEntry
from schemas.jobs import Terminal
from schemas.oip import parse_request
from schemas.records import LaneJob, OutRecord, read_lane_record
from schemas.topics import Lane, LaneClass, Topics
from schemas.versions import CatalogSnapshot
from stores.batches import BatchWork, Lead
from stores.blobs import Blobs, whole
from stores.memory import MemoryJobs
from stores.memory_batches import BatchState, MemoryBatches, MemoryBatchWork, MemoryFiles
from stores.memory_blobs import MemoryBlobs
from stores.memory_promises import MemoryPromises
from stores.memory_signals import MemorySignals
from tests.unit.inference.jobs import SIGNATURE
from tests.unit.inference.models import Adder
from tests.unit.inference.running import room_for, run_all
from workers.consuming.protocols import Record
from workers.feeder.feed import Seams
from workers.feeder.feeder import Feeder
from workers.inference.batching.pending_job import PendingJob
from workers.inference.execution.runner import Model, Runner
from workers.inference.results.outcomes import outcome_of

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
TOPICS = Topics("unit")
ENDPOINT = "/v1/models/adder/jobs"
LANE = Lane("adder", "1", LaneClass.BULK)
ENTRY = CatalogEntry(
    model="adder",
    version="1",
    signature=SIGNATURE,
    platform="onnxruntime_onnx",
    max_batch_size=50,  # of which a block has a whole number
    is_default=True,
    announced_at=NOON,
)


def line(number: int, *values: float, **more: Any) -> str:
    """A line whose rows are these values, or its number."""
    rows = [{"x": [value]} for value in values or (float(number),)]
    told = {"custom_id": f"line-{number}", "method": "POST", "url": ENDPOINT, "body": {"instances": rows}}
    return json.dumps(told | more)


class Killed(BaseException):
    """The process ends here."""


class House:
    """`model` answers what lies in the lane. `clock_s` moves only as it is told."""

    def __init__(self, model: Model | None = None, *, window_s: float = 10.0) -> None:
        self.now = NOON
        self.clock_s = 0.0
        self.model = model or Adder()
        self.state = BatchState()
        self.blobs = MemoryBlobs(lambda: self.now)
        self.jobs = MemoryJobs(lambda: self.now)
        self.files = MemoryFiles(self.state)
        self.batches = MemoryBatches(self.state)
        self.work = MemoryBatchWork(self.state, admissions=self.jobs, clock_s=lambda: 0.0)
        self.promises = MemoryPromises()
        self.log = MemoryLog(partitions=1)  # so that its order is that of time
        self.signals = MemorySignals(clock=lambda: self.now)
        self.catalog = Catalog(CatalogSnapshot().with_entry(ENTRY))
        self.window_s = window_s
        self.done = 0  # records of the lane that were worked off
        self.lead = Lead("one")
        self.feeder = self.new_feeder()

    def new_feeder(self, work: BatchWork | None = None, blobs: Blobs | None = None, publisher: Any = None) -> Feeder:
        """One that knows nothing yet, as after a start."""
        seams = Seams(
            work or self.work,
            blobs or self.blobs,
            publisher or self.log,
            TOPICS,
            lambda: self.now,
            1_000_000,
            lambda: self.clock_s,
        )
        return Feeder(
            seams,
            self.files,
            self.batches,
            self.jobs,
            self.signals,
            self.catalog,
            Routes(),
            self.promises,
            window_s=self.window_s,
            most_lines=100_000,
        )

    async def batch(self, lines: Iterable[str], *, tenant: str = "default", **more: Any) -> str:
        """The id of a batch whose input is these lines."""
        text = "".join(f"{each}\n" for each in lines).encode()
        file_id = new_file_id()
        key = f"files/{tenant}/{file_id}"
        await self.blobs.put(key, text)
        await self.files.add(
            File(
                tenant=tenant,
                id=file_id,
                purpose=Purpose.BATCH,
                filename="a",
                bytes=len(text),
                created_at=self.now,
                key=key,
            )
        )
        fields: dict[str, Any] = {
            "tenant": tenant,
            "id": new_batch_id(),
            "endpoint": ENDPOINT,
            "input_file_id": file_id,
            "completion_window": "24h",
            "status": BatchStatus.VALIDATING,
            "created_at": self.now,
            "expires_at": self.now + timedelta(days=1),
        }
        batch = Batch(**(fields | more))
        await self.batches.add(batch)
        return batch.id

    async def step(self) -> None:
        """One round of the feeder, once what runs beside it has come to its end."""
        assert await self.work.lead(self.lead.token)
        await self.feeder.step(self.lead)
        await self.feeder.validated()

    @property
    def lane(self) -> list[OutRecord]:
        """In the order in which they were written."""
        return self.log.records(TOPICS.lane(LANE))

    @property
    def jobs_sent(self) -> list[LaneJob]:
        """The jobs in the lane, in the order in which they were sent."""
        return [read_lane_record(tuple(record.headers), record.value) for record in self.lane]

    async def work_off(self, most: int | None = None) -> None:
        """Run what lies in the lane, or so many of its records, and end their jobs."""
        records = self.lane[self.done :] if most is None else self.lane[self.done : self.done + most]
        self.done += len(records)
        ends = [end for record in records if (end := self._ran(record)) is not None]
        won = await self.jobs.finish(ends)
        self.feeder.tell_done(won)

    def _ran(self, out: OutRecord) -> Terminal | None:
        job = read_lane_record(tuple(out.headers), out.value)
        record = Record(out.topic, 0, 0, 1, out.key, out.value, tuple(out.headers), 0)
        item = PendingJob(record, job, parse_request(SIGNATURE, job.payload))
        (result,) = run_all(Runner(self.model, SIGNATURE, room_for(64)), [item]).outcomes
        outcome = outcome_of(SIGNATURE, item, result, self.now, self.now, ())
        assert isinstance(outcome, Terminal)
        return outcome

    async def until_ended(self, batch_id: str, rounds: int = 200, *, most: int | None = None) -> Batch:
        """Working off so many records a round at most."""
        for _ in range(rounds):
            self.clock_s += 1.0
            await self.step()
            await self.work_off(most)
            batch = await self.batch_now(batch_id)
            if batch.done:
                return batch
        raise AssertionError(f"it has not ended: {await self.batch_now(batch_id)}")

    async def batch_now(self, batch_id: str) -> Batch:
        batch = self.state.batch(batch_id)
        assert batch is not None
        return batch

    async def outputs(self, batch: Batch) -> tuple[list[Any], list[Any]]:
        """The lines that have an answer, and those that have an error."""
        found = []
        for kind in (PartKind.OUTPUT, PartKind.ERROR):
            parts = await self.batches.parts(batch.id, kind, after=-1, limit=100_000)
            texts = [await whole(self.blobs, part.key) for part in parts]
            lines = [json.loads(text) for text in b"".join(texts).splitlines()]
            assert sum(part.lines for part in parts) == len(lines)
            found.append(lines)
        return found[0], found[1]


def answers(lines: Sequence[Any]) -> dict[str, list[float]]:
    """The doubles of each line, by its custom id."""
    found = {each["custom_id"]: [row["double"][0] for row in each["response"]["body"]["predictions"]] for each in lines}
    assert len(found) == len(lines), "each line once"
    return found


def keys_of(lines: Sequence[Any]) -> list[str]:
    return [each["custom_id"] for each in lines]
