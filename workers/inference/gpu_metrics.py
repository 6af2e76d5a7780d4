"""What the GPU of this process is doing: asked of its driver by NVML, at each scrape of the metrics.

A value that the GPU does not tell is left out: a slice of one (MIG) knows its memory and no utilization. A driver that
is away or stuck costs a scrape a bounded time and no more; `penstock_gpu_up` is 0 then.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from runtime.extras import with_extra
from runtime.logs import get_logger
from workers.inference.backends.device import ORDER, VISIBLE

log = get_logger(__name__)

PATIENCE_S: Final = 0.25  # the event loop waits with the scrape

UP: Final = ("penstock_gpu_up", "Whether the driver tells of this process's GPU")
GAUGES: Final = {
    "penstock_gpu_utilization_ratio": "Share of the last sample period in which a kernel ran on the GPU",
    "penstock_gpu_memory_used_bytes": "Memory of the GPU in use, by whomever",
    "penstock_gpu_memory_total_bytes": "Memory of the GPU",
    "penstock_gpu_process_memory_bytes": "Memory of the GPU that this process and its children hold",
    "penstock_gpu_temperature_celsius": "Temperature of the GPU",
    "penstock_gpu_power_watts": "Power that the GPU draws",
}


class Gpu:
    """One GPU through `nvml`, the module `pynvml`. `token` is its UUID, or its index in order of the PCI bus."""

    def __init__(self, nvml: Any, token: str, is_ours: Callable[[int], bool]) -> None:
        self._nvml = nvml
        self._token = token
        self._is_ours = is_ours
        self._handle: Any = None
        self.uuid = token

    def read(self) -> dict[str, float]:
        """Values by metric; none if the driver is away. It is looked for anew until it answers."""
        try:
            handle = self._handle or self._found()
        except self._nvml.NVMLError:
            return {}
        values = {
            name: value for name, ask in self._questions().items() if (value := self._asked(ask, handle)) is not None
        }
        self._handle = handle if values else None
        return values

    def _found(self) -> Any:
        self._nvml.nvmlInit()
        by_index = self._token.isdigit()
        handle = (
            self._nvml.nvmlDeviceGetHandleByIndex(int(self._token))
            if by_index
            else self._nvml.nvmlDeviceGetHandleByUUID(self._token)
        )
        self.uuid = self._nvml.nvmlDeviceGetUUID(handle)
        return handle

    def _asked(self, ask: Callable[[Any], float | None], handle: Any) -> float | None:
        try:
            return ask(handle)
        except self._nvml.NVMLError:
            return None

    def _questions(self) -> dict[str, Callable[[Any], float | None]]:
        nvml = self._nvml
        return {
            "penstock_gpu_utilization_ratio": lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
            "penstock_gpu_memory_used_bytes": lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
            "penstock_gpu_memory_total_bytes": lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
            "penstock_gpu_process_memory_bytes": self._held_by_us,
            "penstock_gpu_temperature_celsius": lambda gpu: nvml.nvmlDeviceGetTemperature(
                gpu, nvml.NVML_TEMPERATURE_GPU
            ),
            "penstock_gpu_power_watts": lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
        }

    def _held_by_us(self, handle: Any) -> float | None:
        """None where the driver does not say, or knows processes by other numbers than those of our container."""
        ours = [each for each in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle) if self._is_ours(each.pid)]
        told = [each.usedGpuMemory for each in ours if each.usedGpuMemory is not None]
        return sum(told) if told else None


class GpuCollector(Collector):
    """Reads in a thread of its own, which a stuck driver may keep; scrapes go on without it until it comes back."""

    def __init__(self, gpu: Gpu, patience_s: float = PATIENCE_S) -> None:
        self._gpu = gpu
        self._patience_s = patience_s
        self._thread: threading.Thread | None = None
        self._values: Mapping[str, float] = {}

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [GaugeMetricFamily(name, text, labels=["gpu"]) for name, text in [UP, *GAUGES.items()]]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        values = self._read_in_time()
        for family in self.describe():
            value = float(bool(values)) if family.name == UP[0] else values.get(family.name)
            if value is not None:
                family.add_metric([self._gpu.uuid], value)
                yield family

    def _read_in_time(self) -> Mapping[str, float]:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._read, name="gpu metrics", daemon=True)
            self._thread.start()
        self._thread.join(self._patience_s)
        return {} if self._thread.is_alive() else self._values

    def _read(self) -> None:
        self._values = {}
        self._values = self._gpu.read()


@contextmanager
def watched_gpu(device: str, environ: Mapping[str, str]) -> Iterator[None]:
    """Metrics of the GPU that was claimed in `environ`, as long as this is open. `device` as the runtimes are told.

    Without any where it is the CPU, where nvidia-ml-py is not installed, and where `auto` finds no GPU.
    """
    gpu = None if device == "cpu" else _claimed_gpu(environ)
    if gpu is None or (device == "auto" and not gpu.read()):
        yield
        return
    collector = GpuCollector(gpu)
    REGISTRY.register(collector)
    try:
        yield
    finally:
        REGISTRY.unregister(collector)


def _claimed_gpu(environ: Mapping[str, str]) -> Gpu | None:
    token = environ.get(VISIBLE, "")
    if not token or (token.isdigit() and environ.get(ORDER) != "PCI_BUS_ID"):
        return None  # NVML counts along the PCI bus, so an index in another order would be another GPU's
    try:
        nvml = import_module("pynvml")
    except ModuleNotFoundError:
        log.info("no metrics of the GPU: nvidia-ml-py is not installed", remedy=with_extra("gpu"))
        return None
    return Gpu(nvml, token, _is_ours)


def _is_ours(pid: int) -> bool:
    """Whether it is this process, or a child of it that runs a model."""
    if pid == os.getpid():
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # The name, in parentheses, may hold anything; the state and the parent follow it.
    return int(status.rpartition(")")[2].split()[1]) == os.getpid()
