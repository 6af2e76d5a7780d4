"""A worker's start: what it waits for, what it does without, and what it refuses in one line."""

from pathlib import Path

import pytest

from penstock.embedded.ports import LOOPBACK, choose
from tests.integration.worker.lever import MODEL, write_lever
from tests.integration.worker.process import worker_process
from tests.integration.worker.site import Site, job
from tests.waiting import eventually


async def test_without_redis_it_serves_all_the_same(site: Site) -> None:
    (port,) = choose(1)
    async with worker_process(site.environment, redis_url=f"redis://{LOOPBACK}:{port}/0") as worker:
        await worker.ready()
        ids = await site.submit(job(), job())
        await site.all_ended(ids)
        worker.terminate()
        assert await worker.ended() == 0
    assert site.outcomes() == {"succeeded": 2}


async def test_it_can_be_stopped_while_it_waits_for_kafka(environment: dict[str, str]) -> None:
    (port,) = choose(1)
    async with worker_process(environment, kafka_bootstrap_servers=f"{LOOPBACK}:{port}") as worker:
        await eventually(lambda: worker.said("waiting for a part"), 30)
        assert (await worker.get("/readyz")).status_code == 503
        worker.terminate()
        assert await worker.ended() == 0


async def test_a_model_that_is_named_and_not_there_is_refused_in_one_line(environment: dict[str, str]) -> None:
    async with worker_process(environment, worker_models="lever/3") as worker:
        assert await worker.ended() == 2
    (line,) = worker.said("cannot start")
    assert "lever/3" in line["reason"]
    assert not any("Traceback" in line for line in worker.raw)


async def test_a_model_that_cannot_be_loaded_is_refused_by_its_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    repository = write_lever(tmp_path)
    (repository / MODEL / "1" / "model.onnx").write_bytes(b"no graph")
    async with worker_process(environment, model_repository=str(repository)) as worker:
        assert await worker.ended() == 2
    (line,) = worker.said("cannot start")
    assert "model.onnx" in line["reason"]


async def test_wrong_settings_are_told_all_at_once(environment: dict[str, str]) -> None:
    async with worker_process(environment, lane_partitions="0", health_port="99999") as worker:
        assert await worker.ended() == 2
    told = "".join(worker.raw)
    assert "PENSTOCK_LANE_PARTITIONS: " in told
    assert "PENSTOCK_HEALTH_PORT: " in told


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("cuda:x", "device 'cuda:x' is none of auto, cpu, cuda"),
        ("cuda:1", "device cuda:1 was asked for, and CUDA_VISIBLE_DEVICES is 'GPU-8932f937'"),
    ],
)
async def test_a_device_that_it_cannot_have_is_refused_in_one_line(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, device: str, reason: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937")
    async with worker_process(environment, worker_device=device) as worker:
        assert await worker.ended() == 2
    (line,) = worker.said("cannot start")
    assert reason in line["reason"]
