"""The model repositories that the measurements serve."""

import socket
from collections.abc import Sequence
from pathlib import Path

from benchmarks.workload import ROOT, WORKLOADS

DIGITS = ROOT / "examples" / "models"


class Models:
    """`minilm` is the folder that the transformer example was built into, if it was. Of the workloads, those are
    measured whose name begins with `only`."""

    def __init__(self, minilm: Path | None, only: str = "") -> None:
        self._minilm = minilm
        self._only = only

    def __contains__(self, model: str) -> bool:
        return model != "minilm" or self._minilm is not None

    def repository_of(self, model: str) -> Path:
        if model != "minilm":
            return DIGITS
        assert self._minilm is not None
        return self._minilm

    def workloads(self) -> list[str]:
        """The names of the workloads that are asked for and whose model is there."""
        there = [name for name, workload in WORKLOADS.items() if workload.model in self]
        return self.only(there)

    def only(self, names: Sequence[str]) -> list[str]:
        """Those that are asked for."""
        return [name for name in names if self.wants(name)]

    def wants(self, name: str) -> bool:
        return name.startswith(self._only)

    @staticmethod
    def free_port() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])
