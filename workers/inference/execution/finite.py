"""NaN and infinity in outputs: JSON cannot write them, and a null in their place would pass for an answer. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np

from schemas.errors import OutputInvalid, PenstockError
from schemas.jobs import Answer
from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.batching.pending_job import PendingJob, RowAnswers, RunResult


def refuse_non_finite(
    signature: Signature,
    items: Sequence[PendingJob],
    outputs: Mapping[str, Array],
    parts: Sequence[Mapping[str, Array]],
) -> list[RunResult]:
    """Each item's part of `outputs`; an error where it would be written as JSON and is not finite.

    The whole micro-batch is looked at first, so that it costs next to nothing while all is well.
    """
    doubtful = [name for name, array in outputs.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if not doubtful:
        return list(parts)
    return [_checked(signature, item, part, doubtful) for item, part in zip(items, parts, strict=True)]


def finite_rows(signature: Signature, item: PendingJob, answers: RowAnswers) -> RowAnswers:
    """The same, where rows that cannot be written have errors as well."""
    count = len(next(iter(answers.outputs.values()), ()))
    unwritten = np.zeros(count, dtype=bool)
    why: dict[int, PenstockError] = {}
    for name in sorted(_written_as_json(signature, item) & answers.outputs.keys()):
        array = answers.outputs[name]
        if array.dtype.kind == "f":
            bad = ~np.isfinite(array).reshape(count, -1).all(axis=1)
            why |= {int(place): _unwritable(name) for place in np.flatnonzero(bad & ~unwritten)}
            unwritten |= bad
    if not why:
        return answers
    rows = [row for row in range(item.rows) if row not in answers.errors]
    errors = {**answers.errors, **{rows[place]: error for place, error in why.items()}}
    kept = {name: array[~unwritten] for name, array in answers.outputs.items()}
    return RowAnswers(kept, dict(sorted(errors.items())))


def _checked(signature: Signature, item: PendingJob, part: Mapping[str, Array], doubtful: Sequence[str]) -> RunResult:
    as_json = _written_as_json(signature, item)
    for name in doubtful:
        if name in as_json and not np.isfinite(part[name]).all():
            return finite_rows(signature, item, RowAnswers(part, {})) if item.job.row_errors else _unwritable(name)
    return part


def _unwritable(name: str) -> OutputInvalid:
    return OutputInvalid(
        f"output {name!r} holds NaN or infinity, which JSON cannot; ask for it as a binary tensor", param=name
    )


def _written_as_json(signature: Signature, item: PendingJob) -> frozenset[str]:
    every = frozenset(spec.name for spec in signature.outputs)
    if item.job.answer is Answer.PREDICTIONS:
        return every
    return (frozenset(item.request.outputs) or every) - item.request.binary_outputs
