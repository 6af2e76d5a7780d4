"""The promise, and whether it was kept: every accepted job has one visible result, its own, and none is lost."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from tests.acceptance.kafka import Heard


class Row(NamedTuple):
    """A job as Postgres has it, which is what clients are shown."""

    id: str
    status: str
    completed_at: datetime | None
    result: bytes | None


class Verdict(NamedTuple):
    """`lost` and `doubled`: a line about each job that should not be there. `records`: those of the jobs' results."""

    jobs: int
    records: int
    lost: Sequence[str]
    doubled: Sequence[str]

    @property
    def repeated(self) -> int:
        """Result records beyond one a job: the sink passes over them, and nobody is shown them."""
        return self.records - self.jobs

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return not self.lost and not self.doubled


def judge(accepted: Mapping[int, str], rows: Iterable[Row], records: Iterable[Heard]) -> Verdict:
    """`accepted` maps the number that a job had in its input to the id that its client was given.

    Of `records`, in the order of each partition, those of other jobs are left out.
    """
    by_id = {row.id: row for row in rows}
    heard: defaultdict[str, list[Heard]] = defaultdict(list)
    wanted = set(accepted.values())
    for record in records:
        if record.headers.get("ce_id", b"").decode() in wanted:
            heard[record.job_id].append(record)
    lost, doubled = [], []
    for number, job_id in accepted.items():
        row, results = by_id.get(job_id), heard.get(job_id, [])
        if missing := _missing(number, row, results):
            lost.append(f"{job_id}: {missing}")
        elif row is not None and (twice := _twice(row, results)):
            doubled.append(f"{job_id}: {twice}")
    if len(wanted) < len(accepted):
        doubled.append(f"{len(accepted) - len(wanted)} keys were given the job of another")
    return Verdict(len(wanted), sum(map(len, heard.values())), lost, doubled)


def _missing(number: int, row: Row | None, results: Sequence[Heard]) -> str | None:
    if row is None:
        return "there is no such job"
    if row.status != "succeeded" or row.result is None:
        return f"it is {row.status}"
    if json.loads(row.result) != {"predictions": [number]}:
        return f"it has the result of another: {row.result!r} instead of {number}"
    if not results:
        return "it is not in the results topic"
    return None


def _twice(row: Row, results: Sequence[Heard]) -> str | None:
    """Whoever reads the topic and keeps the first record of each key must see what Postgres shows."""
    if len({record.partition for record in results}) > 1:
        return "its records stand in several partitions: none is the first"
    first = results[0]
    if (first.status, first.value) != (row.status, row.result):
        return "the first record is not what is shown"
    if datetime.fromisoformat(first.headers["ce_time"].decode()) != row.completed_at:
        return "a later record took the place of the first"
    return None
