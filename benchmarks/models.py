"""The model repositories that the measurements serve."""

import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.workload import ROOT, WORKLOADS

DIGITS = ROOT / "examples" / "models"


class Models:
    """`minilm` is the folder that the transformer example was built into, if it was. Of the workloads, those are
    measured whose name begins with one of `only`, or all. `against` is an older checkout to measure beside this one."""

    def __init__(self, minilm: Path | None, only: Sequence[str] = (), against: Path | None = None) -> None:
        self._minilm = minilm
        self._only = tuple(only) or ("",)
        self._against = against

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

    def checkouts(self) -> dict[str, Path]:
        """What is measured in turns, by the name that tables call it."""
        older = {f"before ({commit(self._against)})": self._against} if self._against else {}
        return {**older, "now": ROOT}

    @staticmethod
    def free_port() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])


def commit(checkout: Path) -> str:
    """The commit that is checked out, in short."""
    asked = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
