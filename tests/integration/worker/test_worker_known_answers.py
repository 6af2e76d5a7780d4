"""A model that begins to answer wrongly: its worker takes it out of service, and no client is given its answers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.worker.lever import MODEL, MODEL_YAML, doubles, pull
from tests.integration.worker.process import WorkerProcess, worker_process
from tests.integration.worker.site import Site, job
from tests.unit.models.handlers import digest
from tests.waiting import eventually
from workers.inference.execution.failures import DEVICE_FAILED_STATUS

HANDLER = """
import os
from pathlib import Path
import numpy as np

FAULTS = {
    "garbage": lambda rows: np.frombuffer(np.random.default_rng().bytes(rows.nbytes), np.float32).reshape(rows.shape),
    "NaN": lambda rows: np.full_like(rows, np.nan),
    "another model's weights": lambda rows: 3 * rows,
}


class Handler:
    def predict(self, inputs):
        fault = Path(os.environ["FAULT"]).read_text()
        return {"double": FAULTS[fault](inputs["number"]) if fault else 2 * inputs["number"]}
"""
OUT_OF_SERVICE = f"out of service, since they answered wrongly: {MODEL}/1"


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Says what is wrong with the device from now on."""
    file = tmp_path / "fault"
    file.write_text("")
    monkeypatch.setenv("FAULT", str(file))
    return file.write_text


@pytest.fixture
def watched(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The settings of a worker that checks before every micro-batch."""
    directory = tmp_path / "models" / MODEL / "1"
    directory.mkdir(parents=True)
    (directory / "handler.py").write_text(HANDLER)
    more = f"""
trust: code
sha256: {{handler.py: {digest(HANDLER)}}}
reference_rows:
  inputs: {{number: [[1], [2]], spins: [0, 0]}}
  outputs: {{double: [[2], [4]]}}
"""
    text = MODEL_YAML.replace("onnxruntime_onnx", "python_handler")
    text = text.replace("parameters: {onnxruntime: {intra_op_threads: 1}}", "")
    (directory.parent / "model.yaml").write_text(text + more)
    return {
        **environment,
        "model_repository": str(tmp_path / "models"),
        "worker_trust": "code",
        "worker_check_interval_s": "0.001",
    }


async def answer(site: Site, number: float) -> list[float]:
    ids = await site.submit(job(pull(number)))
    await site.all_ended(ids)
    return doubles(site.outcome(ids[0]).result)


async def metric(worker: WorkerProcess, line: str) -> bool:
    return line in (await worker.get("/metrics")).text


@pytest.mark.parametrize("how", ["garbage", "NaN", "another model's weights"])
async def test_a_version_that_answers_wrongly_is_out_of_service_until_a_fresh_load_answers_rightly(
    site: Site, watched: dict[str, str], begin: Callable[[str], object], how: str
) -> None:
    async with worker_process(watched) as worker:
        assert await answer(site, 3.0) == [6.0]

        # When the device goes wrong
        begin(how)
        (late,) = await site.submit(job(pull(4.0)))

        # Then it is said aloud, and the job is to be tried again
        await eventually(lambda: worker.said("a model is taken out of service, since it answers wrongly"), 30)
        begin("")
        assert await worker.reason() == OUT_OF_SERVICE
        assert await metric(worker, "penstock_worker_out_of_service_versions 1.0")
        assert await metric(worker, f'checks_total{{model="{MODEL}",outcome="wrong",version="1"}} 1.0')
        retried = await eventually(lambda: site.records_of(site.topics.retry(1)), 30, "the job is to be tried again")
        assert [dict(record.headers)["ce_id"].decode() for record in retried] == [late]
        assert site.missing([late])

        # And a fresh load that answers rightly serves again
        await worker.ready()
        assert await answer(site, 5.0) == [10.0]
        assert await metric(worker, "penstock_worker_out_of_service_versions 0.0")


async def test_a_device_that_answers_wrongly_after_a_fresh_load_as_well_ends_the_worker(
    site: Site, watched: dict[str, str], begin: Callable[[str], object]
) -> None:
    async with worker_process(watched) as worker:
        assert await answer(site, 3.0) == [6.0]
        begin("another model's weights")
        ids = await site.submit(*(job(pull(float(number))) for number in range(5)))
        assert await worker.ended(60) == DEVICE_FAILED_STATUS
        assert worker.said("ending, since the device failed")

        # And no job was given a wrong answer
        assert site.missing(ids) == set(ids)
