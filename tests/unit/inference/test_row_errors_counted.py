"""Rows that have errors within jobs that succeed are counted, each by its error."""

import numpy as np
import pytest
from prometheus_client import REGISTRY

from schemas.blocks import encode_block
from schemas.records import LaneJob
from schemas.topics import LaneClass
from tests.unit.inference.blocks import Naming
from tests.unit.inference.jobs import BULK, lane_job
from tests.unit.inference.models import Adder
from tests.unit.inference.worker import small_worker
from tests.waiting import eventually


def counted(reason: str, lane: LaneClass = LaneClass.BULK) -> float:
    labels = {"model": BULK.model, "version": BULK.version, "lane": str(lane), "reason": reason}
    return REGISTRY.get_sample_value("penstock_worker_row_errors_total", labels) or 0.0


def block(*values: float, row_errors: bool = True) -> LaneJob:
    inputs = {"x": np.array(values, dtype=np.float32).reshape(-1, 1)}
    return lane_job(payload=encode_block(inputs), lane=BULK, row_errors=row_errors)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Adder(frozenset([2.0, 5.0])), "inference_failed"),
        (Naming(frozenset([2.0, 5.0]), outputs=True), "invalid_input"),
    ],
)
async def test_bad_rows_of_a_block_are_counted_and_jobs_that_fail_are_not(model: Adder, reason: str) -> None:
    before = counted(reason)
    async with small_worker(model) as worker:
        jobs = [block(1, 2, 3, 4, 5), block(6, 7), block(2, row_errors=False)]
        await worker.submit(*jobs)
        await eventually(lambda: worker.ended(jobs))
    assert counted(reason) - before == 2
