"""A worker's start: what it waits for, what it does without, and what it refuses in one line."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from penstock.embedded.ports import LOOPBACK, choose
from tests.integration.worker.lever import MODEL, write_lever
from tests.integration.worker.odd_model import write_odd
from tests.integration.worker.process import WorkerProcess, worker_process
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


async def test_it_waits_for_models_and_serves_what_comes(environment: dict[str, str], tmp_path: Path) -> None:
    repository = tmp_path / "models"
    told = {"model_repository": str(repository), "worker_models": "*", "worker_watch_interval_s": "0.1"}
    async with worker_process(environment, **told) as worker:
        # Told where it looks, it is not ready: the folder may be misspelt, or its volume missing
        await eventually(lambda: worker.said("waiting for models"))
        await eventually(lambda: worker.said("news flow from Redis"))
        assert "No such file" in await eventually(partial(worker.complaint, "models"))
        # A repository without models is complete, though: there is nothing that it should serve
        repository.mkdir()
        await worker.ready()
        write_lever(repository)
        await eventually(lambda: worker.said("model is served"))
        assert await models_of(worker) == {"served": ["lever/1"], "failed": {}}


async def test_a_bad_model_that_is_named_stops_no_other_and_keeps_it_from_being_ready_until_it_is_mended(
    environment: dict[str, str], tmp_path: Path
) -> None:
    repository = write_lever(tmp_path, versions=("1", "2"))
    bad = repository / MODEL / "2" / "model.onnx"
    sound = bad.read_bytes()
    bad.write_bytes(b"no graph")
    told = {"model_repository": str(repository), "worker_models": "lever", "worker_watch_interval_s": "0.1"}
    async with worker_process(environment, **told) as worker:
        complaint = await eventually(partial(worker.complaint, "models"))
        assert complaint.startswith("lever/2: ")
        assert "model.onnx" in complaint
        await eventually(lambda: worker.said("model is served"))
        assert (await models_of(worker))["served"] == ["lever/1"]
        bad.write_bytes(sound)
        await worker.ready()
        await eventually(lambda: len(worker.said("model is served")) == 2)
        assert (await models_of(worker))["served"] == ["lever/1", "lever/2"]


@pytest.mark.parametrize("isolation", ["none", "process"])
async def test_no_copy_of_a_models_code_stays_behind(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    copies = tmp_path / "tmp"
    copies.mkdir()
    monkeypatch.setenv("TMPDIR", str(copies))
    code = {"model_repository": str(write_odd(tmp_path / "models", isolation)), "worker_trust": "code"}
    # Whether it is told to stop
    async with worker_process(environment, **code) as worker:
        await worker.ready()
        assert list(copies.iterdir())
        worker.terminate()
        assert await worker.ended() == 0
    assert not list(copies.iterdir())
    # Or is killed, once another starts, whatever that one serves
    async with worker_process(environment, **code) as worker:
        await worker.ready()
        await worker.kill()
    assert list(copies.iterdir())
    async with worker_process(environment) as worker:
        await worker.ready()
        assert not list(copies.iterdir())


async def models_of(worker: WorkerProcess) -> Any:
    return (await worker.get("/models")).json()


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
