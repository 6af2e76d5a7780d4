"""Loading a model version and running it with rows that no client sent, so that no job pays for a first run."""

import time
from collections.abc import Sequence
from contextlib import suppress

from runtime.logs import get_logger
from schemas.errors import ConfigurationError, OutputInvalid, PenstockError
from workers.inference.backends import Backend, load_backend
from workers.inference.backends.reference_inputs import given_inputs, made_up_inputs, repeated, run_rows
from workers.inference.backends.watchdog import WATCH
from workers.inference.decoding.tokenizer import load_tokenizer
from workers.inference.models.model_config import Warmup
from workers.inference.models.model_version import ModelVersion

log = get_logger(__name__)


def load_warm(version: ModelVersion, device: str) -> Backend:
    """Load the version and run its warm-ups. Blocks. Raises `ConfigurationError` or `DeviceFailed`; nothing is left
    open then."""
    started = time.perf_counter()
    with WATCH.loading():
        _check_tokenizer(version)
        backend = load_backend(version, device)
        loaded = time.perf_counter()
        try:
            refused = warm_up(version, backend)
        except BaseException:
            with suppress(Exception):  # what went wrong first is to be told
                backend.close()
            raise
    if refused is not None:
        log.warning(
            "a model does not take the rows that were made up to warm it up; reference_rows in model.yaml gives others",
            model=version.name,
            reason=refused.message,
            exc_info=refused,
        )
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
    if version.warmups is not None:
        return version.warmups
    sizes = version.rules.batch_sizes or tuple(dict.fromkeys([1, version.max_batch_size]))
    lengths = version.rules.padding.lengths or (1,)
    return [Warmup(batch_size=size, length=length) for length in lengths for size in sizes]


def warm_up(version: ModelVersion, backend: Backend) -> ConfigurationError | None:
    """Run its warm-ups. Rows of model.yaml have to pass: raises `ConfigurationError`. Those that are made up need not
    mean anything to the model: returns why it did not take them, where it did not."""
    given = given_inputs(version)
    refused: ConfigurationError | None = None
    for warmup in warmups_of(version):
        inputs = given or made_up_inputs(version, 1, warmup.length)
        try:
            run_rows(version, backend, repeated(inputs, warmup.batch_size))
        except PenstockError as error:
            told = ConfigurationError(_told(version, warmup, error))
            if given is not None or isinstance(error, OutputInvalid):
                raise told from error
            told.__cause__ = error
            refused = refused or told
    return refused


def _told(version: ModelVersion, warmup: Warmup, error: PenstockError) -> str:
    return f"{version.name}: warm-up with {warmup.batch_size} rows of length {warmup.length}: {error.message}"


def _check_tokenizer(version: ModelVersion) -> None:
    """What makes texts into tokens is loaded when the first texts come; whether it can be is found out now."""
    if version.tokenizer_file is not None:
        load_tokenizer(version)
