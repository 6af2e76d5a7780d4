"""Whatever a backend does, its caller sees the declared outputs or an error of ours."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from schemas.errors import JobError, OutOfMemory, OutputInvalid
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from workers.inference.backends.output_check import CheckedBackend

SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 2)),),
    outputs=(TensorSpec("label", "INT64", (-1,)), TensorSpec("scores", "FP32", (-1, 3, -1))),
)
ROWS = 4
INPUTS = {"x": np.zeros((ROWS, 2), np.float32)}
SOUND: dict[str, Array] = {"label": np.zeros(ROWS, np.int64), "scores": np.zeros((ROWS, 3, 7), np.float32)}


class Answering:
    """A backend that always answers the same, or raises."""

    def __init__(self, answer: Mapping[str, Array] | Exception) -> None:
        self._answer = answer
        self.closed = False

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return dict(self._answer)

    def close(self) -> None:
        self.closed = True


def guarded(answer: Mapping[str, Array] | Exception) -> CheckedBackend:
    return CheckedBackend(Answering(answer), "digits/1", SIGNATURE)


def test_declared_outputs_come_in_declared_order_and_others_are_dropped() -> None:
    outputs = guarded({"scores": SOUND["scores"], "debug": np.zeros(1), "label": SOUND["label"]}).run(INPUTS)
    assert list(outputs) == ["label", "scores"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.zeros(ROWS, np.int32)}, "digits/1: output 'label' is int32, not INT64"),
        ({"label": np.zeros(ROWS - 1, np.int64)}, "digits/1: output 'label' has shape [3], not [4] for 4 rows"),
        ({"label": np.zeros((ROWS, 1), np.int64)}, "digits/1: output 'label' has shape [4, 1], not [4]"),
        (
            {"scores": np.zeros((ROWS, 2, 7), np.float32)},
            "digits/1: output 'scores' has shape [4, 2, 7], not [4, 3, -1]",
        ),
    ],
)
def test_an_output_that_breaks_the_signature_is_an_error(changes: dict[str, Array], message: str) -> None:
    with pytest.raises(OutputInvalid) as caught:
        guarded({**SOUND, **changes}).run(INPUTS)
    assert message in caught.value.message


def test_an_output_that_is_missing_is_an_error() -> None:
    with pytest.raises(OutputInvalid, match="digits/1 gave no output 'scores'"):
        guarded({"label": SOUND["label"]}).run(INPUTS)


def test_a_runtimes_error_becomes_ours_without_its_words() -> None:
    cause = RuntimeError("node /secret/path failed")
    with pytest.raises(JobError) as caught:
        guarded(cause).run(INPUTS)
    assert caught.value.message == "digits/1 failed on this input (RuntimeError)"
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize(
    "cause",
    [
        MemoryError("Unable to allocate 7.28 TiB for an array with shape (1000000000000,) and data type float64"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("CUDA failure 2: out of memory ; GPU=0"),
        RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 4294967296"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000000 bytes."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"),
    ],
    ids=lambda error: str(error)[:24],
)
def test_memory_that_ran_out_is_told_from_other_failures(cause: Exception) -> None:
    with pytest.raises(OutOfMemory) as caught:
        guarded(cause).run(INPUTS)
    assert caught.value.message == "digits/1 ran out of memory with 4 rows"
    assert caught.value.__cause__ is cause


def test_an_error_of_ours_passes_as_it_is() -> None:
    error = JobError("a text is not UTF-8")
    with pytest.raises(JobError) as caught:
        guarded(error).run(INPUTS)
    assert caught.value is error


def test_closing_closes_what_is_inside() -> None:
    inner = Answering(SOUND)
    CheckedBackend(inner, "digits/1", SIGNATURE).close()
    assert inner.closed
