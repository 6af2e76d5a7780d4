"""What becomes of each version of a model repository when a worker loads it, without a stack around it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from schemas.errors import PenstockError, TimeLimitExceeded
from workers.inference.backends.isolated.backend import IsolatedBackend
from workers.inference.backends.warmup import warm_up
from workers.inference.execution.failures import DeviceFailed
from workers.inference.lifecycle.known_answers import KnownAnswers
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.repository import ModelRepository, natural_order
from workers.inference.models.snapshot import Found

# Loading and warming up one version, where nobody says otherwise.
LIMIT_S: Final = 120.0


class Verdict(NamedTuple):
    """`refused` says why the version, or all of the model where `version` is None, is not served; None: it is.

    `served` is what was read, where that much was possible. `doubts` are a line each.
    """

    model: str
    version: str | None
    served: ModelVersion | None = None
    refused: str | None = None
    doubts: Sequence[str] = ()
    load_s: float = 0.0

    @property
    def name(self) -> str:
        return self.model if self.version is None else f"{self.model}/{self.version}"


def check_models(
    repository: ModelRepository, patterns: Sequence[str], device: str, limit_s: float = LIMIT_S
) -> Iterator[Verdict]:
    """Read, load, warm up and ask each version that the patterns name, one after the other, as a worker does.

    Each is loaded in a process of its own, so that one that crashes, or hangs for longer than `limit_s`, is told like
    any other. Blocks. Raises `ConfigurationError` where the repository cannot be listed.
    """
    snapshot = repository.look(patterns)
    for name in sorted({*snapshot.found, *snapshot.problems}, key=_order):
        model, _, version = name.partition("/")
        if (found := snapshot.found.get(name)) is not None:
            yield _load(found, device, limit_s)
        else:
            yield Verdict(model, version or None, refused=_in_a_line(snapshot.problems[name]))


def folders_without_model(directory: Path) -> list[Path]:
    """Folders with versions, as models have them, and without a model.yaml: nobody takes them for models."""
    versions = [path for path in directory.glob("*/*") if path.name.isdigit() and path.is_dir()]
    folders = sorted({version.parent for version in versions})
    return [folder for folder in folders if not (folder / "model.yaml").exists()]


def _order(name: str) -> tuple[str, object]:
    model, _, version = name.partition("/")
    return model, natural_order(version)


def _load(found: Found, device: str, limit_s: float) -> Verdict:
    version = found.version
    verdict = Verdict(version.model, version.version, version)
    run_limit_s = min(limit_s, version.run_limit_s or limit_s)
    backend = IsolatedBackend(replace(version, run_limit_s=run_limit_s), device, load_limit_s=limit_s)
    # A run that takes too long by the model's own word is not helped by ours.
    ours = run_limit_s != version.run_limit_s
    load_s: float | None = None
    began = time.perf_counter()
    try:
        backend.load()
        load_s = time.perf_counter() - began
        try:
            made_up = warm_up(version, backend)
            known = KnownAnswers()
            known.learn(found, backend)
            answers = known.check(found, backend)
        finally:
            backend.close()
    except (PenstockError, DeviceFailed) as error:
        too_slow = isinstance(error.__cause__, TimeLimitExceeded)
        remedy = ": --timeout allows more" if too_slow and (ours or load_s is None) else ""
        return verdict._replace(refused=_in_a_line(f"{error}{remedy}"))
    doubts = []
    if made_up is not None:
        doubts.append(
            f"does not take the rows that were made up to warm it up (reference_rows in model.yaml gives others): "
            f"{_in_a_line(made_up.message)}"
        )
    if not answers:
        doubts.append("its reference rows could not be run")
    return verdict._replace(doubts=doubts, load_s=load_s)


def _in_a_line(text: str) -> str:
    return " ".join(text.split())
