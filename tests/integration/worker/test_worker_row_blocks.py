"""Jobs that are answered row by row, of a model that ends the process that it runs in."""

from pathlib import Path

import numpy as np

from schemas.blocks import encode_block, read_block_answer
from schemas.jobs import Status
from schemas.topics import LaneClass
from tests.integration.worker.odd_model import Odd, write_odd
from tests.integration.worker.process import worker_process
from tests.integration.worker.site import Site, job

ROWS = 48


async def test_a_row_that_ends_the_process_of_an_isolated_model_has_an_error_and_the_others_their_answers(
    site: Site, environment: dict[str, str], tmp_path: Path
) -> None:
    numbers, spins = np.arange(ROWS, dtype=np.float32).reshape(-1, 1), np.zeros(ROWS, np.int64)
    spins[[17, 40]] = Odd.EXIT
    rows = job(encode_block({"number": numbers, "spins": spins}), lane=LaneClass.BULK, row_errors=True)
    isolated = {**environment, "model_repository": str(write_odd(tmp_path, "process")), "worker_trust": "code"}
    async with worker_process(isolated):
        await site.submit(rows)
        await site.all_ended([rows.id], timeout_s=90)

    end = site.outcome(rows.id)
    assert (end.status, end.rows, end.row_errors) == (Status.SUCCEEDED, ROWS, True)
    assert end.result is not None
    answer = read_block_answer(end.result)
    assert {row: error.code for row, error in answer.errors.items()} == {17: "model_crashed", 40: "model_crashed"}
    assert answer.outputs["double"].ravel().tolist() == [2.0 * row for row in range(ROWS) if row not in (17, 40)]
