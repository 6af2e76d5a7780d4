"""Loading a model version and running it with made-up rows, so that no job pays for what a first run costs."""

import time
from collections.abc import Sequence

import numpy as np

from runtime.logs import get_logger
from schemas.errors import ConfigurationError, PenstockError
from schemas.signature import TensorSpec
from schemas.tensors import DTYPES, Array
from workers.inference.backends import Backend, load_backend
from workers.inference.decoding.tokenizer import load_tokenizer
from workers.inference.models.model_config import Warmup
from workers.inference.models.model_version import ModelVersion

log = get_logger(__name__)


def load_warm(version: ModelVersion, device: str) -> Backend:
    """Load the version and run its warm-ups. Blocks. Raises `ConfigurationError`; nothing is left open then."""
    started = time.perf_counter()
    _check_tokenizer(version)
    backend = load_backend(version, device)
    loaded = time.perf_counter()
    try:
        _warm_up(version, backend)
    except BaseException:
        backend.close()
        raise
    log.info(
        "model loaded",
        model=version.name,
        platform=version.platform,
        load_s=round(loaded - started, 3),
        warmup_s=round(time.perf_counter() - loaded, 3),
    )
    return backend


def warmups_of(version: ModelVersion) -> Sequence[Warmup]:
    """Those of model.yaml. Else every shape that micro-batches are brought to, where they are brought to any: each
    allowed batch size with each length. Compiled graphs and allocators meet them before the first job does."""
    if version.warmups:
        return version.warmups
    sizes = version.rules.batch_sizes or tuple(dict.fromkeys([1, version.max_batch_size]))
    lengths = version.rules.padding.lengths or (1,)
    return [Warmup(batch_size=size, length=length) for length in lengths for size in sizes]


def _warm_up(version: ModelVersion, backend: Backend) -> None:
    for warmup in warmups_of(version):
        try:
            backend.run({spec.name: sample(spec, warmup) for spec in version.network.inputs})
        except PenstockError as error:
            reason = f"warm-up with {warmup.batch_size} rows of length {warmup.length}: {error.message}"
            raise ConfigurationError(f"{version.name}: {reason}") from error


def sample(spec: TensorSpec, warmup: Warmup) -> Array:
    """Rows of zeros (of a short text for BYTES)."""
    shape = (warmup.batch_size, *(warmup.length if size == -1 else size for size in spec.row_shape))
    if spec.datatype == "BYTES":
        return np.full(shape, b"warm-up", dtype=object)
    return np.zeros(shape, dtype=DTYPES[spec.datatype])


def _check_tokenizer(version: ModelVersion) -> None:
    """What makes texts into tokens is loaded when the first texts come; whether it can be is found out now."""
    if version.tokenizer_file is not None:
        load_tokenizer(version)
