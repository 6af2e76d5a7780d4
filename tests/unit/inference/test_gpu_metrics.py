"""The GPU's metrics. No machine of ours has one, so NVML's functions are played by a twin with the same names."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from runtime.metrics import render
from workers.inference import gpu_metrics
from workers.inference.gpu_metrics import GpuCollector, watched_gpu

UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
AWAY = pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
UNSUPPORTED = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


class Nvml:
    """What `pynvml` says, by the name of the function; an exception is raised."""

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "nvmlInit": None,
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetHandleByUUID": "handle",
            "nvmlDeviceGetUUID": UUID,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=37, memory=12),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=3 * 2**30, total=80 * 2**30, free=77 * 2**30),
            "nvmlDeviceGetTemperature": 54,
            "nvmlDeviceGetPowerUsage": 123_400,
            "nvmlDeviceGetComputeRunningProcesses": [
                SimpleNamespace(pid=os.getpid(), usedGpuMemory=2**30),
                SimpleNamespace(pid=1, usedGpuMemory=2**31),
            ],
            **answers,
        }
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        if name not in self.answers:
            raise AttributeError(name)

        def answer(*arguments: Any) -> Any:
            self.asked.append((name, *arguments))
            said = self.answers[name]
            if isinstance(said, threading.Event):
                said.wait()
                return 0
            if isinstance(said, Exception):
                raise said
            return said

        return answer


def test_the_twin_plays_functions_that_pynvml_has() -> None:
    assert all(callable(getattr(pynvml, name)) for name in Nvml().answers)


def scraped(collector: GpuCollector) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(collector)
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name.partition("{")[0]: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def collector_of(nvml: Nvml, gpu: str = "0", patience_s: float = 10.0) -> GpuCollector:
    return GpuCollector(gpu_metrics.Gpu(nvml, gpu, lambda pid: pid == os.getpid()), patience_s)


def test_everything_is_told_in_base_units() -> None:
    assert scraped(collector_of(Nvml())) == {
        "penstock_gpu_up": 1.0,
        "penstock_gpu_utilization_ratio": 0.37,
        "penstock_gpu_memory_used_bytes": 3 * 2**30,
        "penstock_gpu_memory_total_bytes": 80 * 2**30,
        "penstock_gpu_process_memory_bytes": 2**30,
        "penstock_gpu_temperature_celsius": 54.0,
        "penstock_gpu_power_watts": 123.4,
    }


@pytest.mark.parametrize(
    ("token", "question"),
    [("3", ("nvmlDeviceGetHandleByIndex", 3)), (UUID, ("nvmlDeviceGetHandleByUUID", UUID))],
)
def test_its_own_gpu_is_asked_by_index_or_uuid_and_labeled_by_uuid(token: str, question: tuple[Any, ...]) -> None:
    nvml = Nvml()
    collector = collector_of(nvml, token)
    scraped(collector)
    assert question in nvml.asked
    assert {sample.labels["gpu"] for family in collector.collect() for sample in family.samples} == {UUID}


def test_what_a_slice_of_a_gpu_does_not_know_is_left_out() -> None:
    nvml = Nvml(
        nvmlDeviceGetUtilizationRates=UNSUPPORTED,
        nvmlDeviceGetTemperature=UNSUPPORTED,
        nvmlDeviceGetPowerUsage=UNSUPPORTED,
        nvmlDeviceGetComputeRunningProcesses=[SimpleNamespace(pid=os.getpid(), usedGpuMemory=None)],
    )
    assert set(scraped(collector_of(nvml))) == {
        "penstock_gpu_up",
        "penstock_gpu_memory_used_bytes",
        "penstock_gpu_memory_total_bytes",
    }


def test_a_driver_that_is_away_is_told_and_found_again() -> None:
    nvml = Nvml(nvmlInit=AWAY)
    collector = collector_of(nvml)
    assert scraped(collector) == {"penstock_gpu_up": 0.0}
    nvml.answers["nvmlInit"] = None
    assert scraped(collector)["penstock_gpu_temperature_celsius"] == 54.0


def test_a_gpu_that_fell_off_the_bus_is_looked_for_anew() -> None:
    nvml = Nvml()
    collector = collector_of(nvml)
    scraped(collector)
    sound = dict(nvml.answers)
    nvml.answers.update(dict.fromkeys(sound, AWAY))
    assert scraped(collector) == {"penstock_gpu_up": 0.0}
    nvml.answers.update(sound)
    assert scraped(collector)["penstock_gpu_up"] == 1.0


def test_a_stuck_driver_does_not_hold_up_the_scrape() -> None:
    stuck = threading.Event()
    nvml = Nvml(nvmlDeviceGetPowerUsage=stuck)
    collector = collector_of(nvml, patience_s=0.01)
    for _ in range(3):
        assert scraped(collector) == {"penstock_gpu_up": 0.0}
    assert [name for name, *_ in nvml.asked].count("nvmlDeviceGetPowerUsage") == 1  # threads do not pile up
    stuck.set()


class TestWatching:
    @pytest.fixture
    def nvml(self, monkeypatch: pytest.MonkeyPatch) -> Nvml:
        twin = Nvml()
        monkeypatch.setitem(sys.modules, "pynvml", twin)
        return twin

    ENVIRON: Mapping[str, str] = {"CUDA_VISIBLE_DEVICES": "2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def test_the_page_of_metrics_has_them_as_long_as_the_worker_runs(self, nvml: Nvml) -> None:
        with watched_gpu("cuda:0", self.ENVIRON):
            assert b"penstock_gpu_temperature_celsius{" in render("")[0]
        assert ("nvmlDeviceGetHandleByIndex", 2) in nvml.asked
        assert b"penstock_gpu" not in render("")[0]

    @pytest.mark.parametrize(
        ("device", "environ"),
        [
            ("cpu", ENVIRON),
            ("auto", {"CUDA_VISIBLE_DEVICES": ""}),
            ("cuda:0", {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}),
        ],
    )
    def test_a_gpu_that_is_not_certainly_its_own_is_not_watched(
        self, nvml: Nvml, device: str, environ: Mapping[str, str]
    ) -> None:
        with watched_gpu(device, environ):
            assert b"penstock_gpu" not in render("")[0]
        assert not nvml.asked

    def test_auto_without_a_gpu_has_no_metrics_of_one(self, nvml: Nvml) -> None:
        nvml.answers["nvmlInit"] = AWAY
        with watched_gpu("auto", self.ENVIRON):
            assert b"penstock_gpu" not in render("")[0]

    def test_without_the_package_the_worker_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", None)
        with watched_gpu("cuda:0", self.ENVIRON):
            assert b"penstock_gpu" not in render("")[0]


def test_children_are_ours_and_others_are_not() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        with closing(child.stdin):
            assert gpu_metrics._is_ours(child.pid)
    assert gpu_metrics._is_ours(os.getpid())
    assert not gpu_metrics._is_ours(1)
    assert not gpu_metrics._is_ours(2**22 + 1)


def test_nvml_itself_is_asked_where_no_driver_is() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with watched_gpu("cuda:0", TestWatching.ENVIRON):
            assert REGISTRY.get_sample_value("penstock_gpu_up", {"gpu": "2"}) == 0.0
    else:
        pytest.skip("there is a driver here")
