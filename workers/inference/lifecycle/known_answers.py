"""Rows whose answers are known: a version, or a device, that answers them wrongly leaves service."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from runtime.logs import get_logger
from schemas.errors import ConfigurationError, ModelCrashed, ModelUnavailable, PenstockError, TimeLimitExceeded
from schemas.tensors import Array
from workers.inference import metrics
from workers.inference.backends import Backend
from workers.inference.backends.reference_inputs import given_inputs, made_up_inputs, run_rows
from workers.inference.backends.warmup import warmups_of
from workers.inference.batching.ragged_rows import Rows
from workers.inference.execution.failures import DeviceFailed, Scope, failure_of
from workers.inference.lifecycle.plan import as_run
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.platforms import PLATFORMS
from workers.inference.models.reference_rows import arrays_of
from workers.inference.models.snapshot import Found

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


@dataclass(slots=True)
class _Known:
    """Of one content of a version: what it should answer, if that is known, and whether it has ever done so."""

    reference: Reference | None
    was_right: bool


class KnownAnswers:
    """Those of the versions that this process has loaded. Other files, or another model.yaml, are another version.

    Answers are given in model.yaml, or else recorded when the files are loaded for the first time. Whoever calls says
    in which thread.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Found, _Known]] = []
        self._gone_wrong = False

    def learn(self, found: Found, backend: Backend) -> None:
        """Have known answers of the version from now on, if it can have any. Raises `ConfigurationError` where rows of
        model.yaml cannot be run."""
        if self._of(found) is None:
            given = _given(found.version)
            known = _Known(given or _recorded(found.version, backend), was_right=given is None)
            self._known.append((_content(found), known))

    def check(self, found: Found, backend: Backend) -> bool:
        """Hold the version against its known answers, where it has any. False if they could not be run.

        A version that has been right in this process and no longer is, raises `ModelUnavailable`: its weights or its
        device have changed. `DeviceFailed` where that happens again, to this version after a fresh load or to another:
        then it is not the weights. One that was never right raises `ConfigurationError`.
        """
        known, version = self._of(found), found.version
        if known is None or known.reference is None:
            return True
        try:
            wrong = _what_is_wrong(version, backend, known.reference)
        except Exception as error:
            failure = failure_of(error, alone=True)
            if failure.scope is Scope.DEVICE:
                raise
            if failure.scope is not Scope.ROW or failure.no_room:  # it says nothing about the answers
                log.warning("reference rows could not be run", model=version.name, reason=failure.error.message)
                _count(version, "unknown")
                return False
            wrong = f"they fail: {failure.error.message}"
        _count(version, "right" if wrong is None else "wrong")
        if wrong is None:
            known.was_right = True
            return True
        log.error("a model answers its reference rows wrongly", model=version.name, reason=wrong)
        if not known.was_right:
            raise ConfigurationError(f"{version.name}: answers its reference rows wrongly: {wrong}")
        if self._gone_wrong:
            raise DeviceFailed(f"{version.name} answers wrongly, and is not the first or not for the first time")
        self._gone_wrong = True
        raise ModelUnavailable(f"{version.name} answers its reference rows wrongly on this worker")

    def _of(self, found: Found) -> _Known | None:
        content = _content(found)
        return next((known for each, known in self._known if each == content), None)


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


def _content(found: Found) -> Found:
    """Without what the answers do not depend on."""
    return found._replace(version=as_run(found.version))


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
    """Raises what the backend raises."""
    try:
        answered = run_rows(version, backend, reference.inputs)
    except (ModelCrashed, TimeLimitExceeded):  # a process of its own may end for many reasons: the next one tells
        answered = run_rows(version, backend, reference.inputs)
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
