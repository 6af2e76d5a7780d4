"""NaN and infinity in outputs: JSON cannot write them, and a null in their place would pass for an answer. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np

from schemas.errors import OutputInvalid
from schemas.jobs import Answer
from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.batching.pending_job import PendingJob, RunResult


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


def _checked(signature: Signature, item: PendingJob, part: Mapping[str, Array], doubtful: Sequence[str]) -> RunResult:
    as_json = _written_as_json(signature, item)
    for name in doubtful:
        if name in as_json and not np.isfinite(part[name]).all():
            return OutputInvalid(
                f"output {name!r} holds NaN or infinity, which JSON cannot; ask for it as a binary tensor", param=name
            )
    return part


def _written_as_json(signature: Signature, item: PendingJob) -> frozenset[str]:
    every = frozenset(spec.name for spec in signature.outputs)
    if item.job.answer is Answer.PREDICTIONS:
        return every
    return (frozenset(item.request.outputs) or every) - item.request.binary_outputs
