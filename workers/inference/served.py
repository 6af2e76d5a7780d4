"""A model version in memory: loaded, warmed up, ready to run."""

import time
from collections.abc import Sequence

import msgspec
import numpy as np

from runtime.logs import get_logger
from schemas.errors import ConfigurationError, PenstockError
from schemas.signature import TensorSpec
from schemas.tensors import DTYPES, Array
from workers.inference.backends import Backend, load_backend
from workers.inference.model_version import ModelVersion
from workers.inference.repository import is_named

log = get_logger(__name__)


class ServedModel(msgspec.Struct, frozen=True):
    version: ModelVersion
    backend: Backend


def load_all(versions: Sequence[ModelVersion], device: str, patterns: Sequence[str]) -> list[ServedModel]:
    """Load and warm up every version. Blocks.

    One that cannot be served is logged and left out where only a wildcard among `patterns` met it. Raises
    `ConfigurationError` where it was named, or where nothing is left to serve.
    """
    loaded: list[ServedModel] = []
    failures: list[ConfigurationError] = []
    for version in versions:
        try:
            loaded.append(_load(version, device))
        except ConfigurationError as error:
            if is_named(patterns, version):
                raise
            log.error("model left out", model=version.name, reason=error.message)
            failures.append(error)
    if failures and not loaded:
        raise failures[0]
    return loaded


def _load(version: ModelVersion, device: str) -> ServedModel:
    started = time.perf_counter()
    backend = load_backend(version, device)
    loaded = time.perf_counter()
    for rows in version.warmup_batch_sizes or (1, version.max_batch_size):
        try:
            backend.run({spec.name: _sample(spec, rows) for spec in version.network.inputs})
        except PenstockError as error:
            raise ConfigurationError(f"{version.name}: warm-up with {rows} rows: {error.message}") from error
    log.info(
        "model loaded",
        model=version.name,
        platform=version.platform,
        load_s=round(loaded - started, 3),
        warmup_s=round(time.perf_counter() - loaded, 3),
    )
    return ServedModel(version, backend)


def _sample(spec: TensorSpec, rows: int) -> Array:
    """Rows of zeros (of a short text for BYTES); a dimension of any size is one long."""
    shape = (rows, *(1 if size == -1 else size for size in spec.row_shape))
    if spec.datatype == "BYTES":
        return np.full(shape, b"warm-up", dtype=object)
    return np.zeros(shape, dtype=DTYPES[spec.datatype])
