"""Rows whose answers are known: a version, or a device, that answers them wrongly leaves service."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from runtime.logs import get_logger
from schemas.errors import (
    ConfigurationError,
    ModelUnavailable,
    OutOfMemory,
    PenstockError,
    TransientFailure,
)
from schemas.tensors import Array
from workers.inference import metrics
from workers.inference.backends import Backend
from workers.inference.backends.reference_inputs import given_inputs, made_up_inputs, run_rows
from workers.inference.backends.warmup import warmups_of
from workers.inference.batching.ragged_rows import Rows
from workers.inference.execution.failures import DeviceFailed
from workers.inference.lifecycle.plan import as_run
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.platforms import PLATFORMS
from workers.inference.models.reference_rows import arrays_of
from workers.inference.models.snapshot import Files, Found

log = get_logger(__name__)

MADE_UP_ROWS: Final = 2


class Tolerance(NamedTuple):
    """Two floats are alike where they differ by at most `atol + rtol * |expected|`."""

    rtol: float
    atol: float


# Enough for another number of threads or another choice of algorithm, and far less than garbage differs by.
TOLERANCES: Final = {2: Tolerance(1e-2, 1e-2), 4: Tolerance(1e-3, 1e-4), 8: Tolerance(1e-3, 1e-4)}  # by bytes a float
TOLERANCE_OF_SMALLER_TYPE: Final = Tolerance(5e-2, 5e-2)  # under autocast


class Reference(NamedTuple):
    """What a version is known to answer to some rows."""

    inputs: Mapping[str, Rows]
    expected: Mapping[str, Array]
    tolerances: Mapping[str, Tolerance]


Key = tuple[str, Files, str]


class KnownAnswers:
    """Those of the versions that this process has loaded, by name and files: another content is another version, and
    so is what another model.yaml says of it.

    Answers are given in model.yaml, or else recorded when the files are loaded for the first time. Whoever calls says
    in which thread.
    """

    def __init__(self) -> None:
        self._references: dict[Key, Reference | None] = {}
        self._were_right: set[Key] = set()
        self._gone_wrong = False

    def learn(self, found: Found, backend: Backend) -> None:
        """Have known answers of the version from now on, if it can have any. Raises `ConfigurationError` where rows of
        model.yaml cannot be run."""
        key = _key(found)
        if key in self._references:
            return
        reference = _given(found.version) or _recorded(found.version, backend)
        if reference is not None and not _expects(found.version):
            self._were_right.add(key)
        self._references[key] = reference

    def check(self, found: Found, backend: Backend) -> bool:
        """Hold the version against its known answers, where it has any. False if they could not be run.

        A version that has been right in this process and no longer is, raises `ModelUnavailable`: its weights or its
        device have changed. `DeviceFailed` where that happens again, to this version after a fresh load or to another:
        then it is not the weights. One that was never right raises `ConfigurationError`.
        """
        key, version = _key(found), found.version
        reference = self._references.get(key)
        if reference is None:
            return True
        try:
            wrong = _what_is_wrong(version, backend, reference)
        except (OutOfMemory, TransientFailure) as error:  # it says nothing about the answers
            log.warning("reference rows could not be run", model=version.name, reason=error.message)
            _count(version, "unknown")
            return False
        _count(version, "right" if wrong is None else "wrong")
        if wrong is None:
            self._were_right.add(key)
            return True
        log.error("a model answers its reference rows wrongly", model=version.name, reason=wrong)
        if key not in self._were_right:
            raise ConfigurationError(f"{version.name}: answers its reference rows wrongly: {wrong}")
        if self._gone_wrong:
            raise DeviceFailed(f"{version.name} answers wrongly, and is not the first or not for the first time")
        self._gone_wrong = True
        raise ModelUnavailable(f"{version.name} answers its reference rows wrongly on this worker")


def difference(
    expected: Mapping[str, Array], answered: Mapping[str, Array], tolerances: Mapping[str, Tolerance]
) -> str | None:
    """Where the answer is not as expected, in words; None where it is. NaN is like NaN. Pure."""
    for name, want in expected.items():
        have = answered[name]
        if have.shape != want.shape:
            return f"output {name!r} has shape {list(have.shape)}, not {list(want.shape)}"
        alike = _alike(want, have, tolerances.get(name))
        if not alike.all():
            place = tuple(map(int, np.argwhere(~alike)[0]))
            return f"output {name!r} is {have[place]} at {list(place)}, not {want[place]}"
    return None


def _alike(want: Array, have: Array, tolerance: Tolerance | None) -> Array:
    if tolerance is not None:
        with np.errstate(all="ignore"):
            return np.isclose(have, want, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True)
    if want.dtype == object:
        return np.array(
            [_bytes(a) == _bytes(b) for a, b in zip(want.ravel(), have.ravel(), strict=True)], bool
        ).reshape(want.shape)
    return np.asarray(want == have)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _key(found: Found) -> Key:
    """What the answers depend on: the name, the files, and what model.yaml says, as text since it has no hash."""
    return found.version.name, found.files | found.tokenizer, repr(as_run(found.version))


def _expects(version: ModelVersion) -> bool:
    return version.reference_rows is not None and bool(version.reference_rows.outputs)


def _given(version: ModelVersion) -> Reference | None:
    rows, inputs = version.reference_rows, given_inputs(version)
    if rows is None or inputs is None or not rows.outputs:
        return None
    specs = [spec for spec in version.signature.outputs if spec.name in rows.outputs]
    expected = arrays_of(specs, rows.outputs, "reference_rows.outputs")
    return Reference(inputs, expected, _tolerances(version, expected))


def _recorded(version: ModelVersion, backend: Backend) -> Reference | None:
    """What `backend` answers now; nothing where it answers the same rows in two ways, or does not take those that are
    made up. What a model's own code answers may depend on more than its rows: there they have to be given."""
    given = given_inputs(version)
    if given is None and PLATFORMS[version.platform].keeps_files:
        return None
    length = min((warmup.length for warmup in warmups_of(version)), default=1)
    inputs: Mapping[str, Rows] = given or made_up_inputs(version, min(MADE_UP_ROWS, version.max_batch_size), length)
    try:
        expected = run_rows(version, backend, inputs)
        reference = Reference(inputs, expected, _tolerances(version, expected))
        reason = _what_is_wrong(version, backend, reference)
    except PenstockError as error:
        if given is not None:
            raise ConfigurationError(f"{version.name}: reference_rows: {error.message}") from error
        reason = error.message
    else:
        if reason is None:
            return reference
    log.info("a model has no known answers: reference_rows in model.yaml gives some", model=version.name, reason=reason)
    return None


def _what_is_wrong(version: ModelVersion, backend: Backend, reference: Reference) -> str | None:
    try:
        answered = run_rows(version, backend, reference.inputs)
    except (OutOfMemory, TransientFailure):
        raise
    except PenstockError as error:
        return f"they fail: {error.message}"
    return difference(reference.expected, answered, reference.tolerances)


def _tolerances(version: ModelVersion, expected: Mapping[str, Array]) -> dict[str, Tolerance]:
    """Of the outputs that are floats; everything else has to be equal."""
    rows, torch = version.reference_rows, version.parameters.torch
    smaller = torch is not None and torch.autocast is not None
    tolerances = {}
    for name, array in expected.items():
        if array.dtype.kind == "f":
            usual = TOLERANCE_OF_SMALLER_TYPE if smaller else TOLERANCES[array.dtype.itemsize]
            rtol = None if rows is None else rows.rtol
            atol = None if rows is None else rows.atol
            tolerances[name] = Tolerance(
                usual.rtol if rtol is None else rtol,
                usual.atol if atol is None else atol,
            )
    return tolerances


def _count(version: ModelVersion, outcome: str) -> None:
    metrics.KNOWN_ANSWERS.labels(version.model, version.version, outcome).inc()
