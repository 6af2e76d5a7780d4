"""Whatever a backend does, its caller sees the declared outputs or an error of ours."""

import sys
import traceback
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from schemas.errors import InvalidInput, JobError, OutOfMemory, OutputInvalid, PenstockError, TransientFailure
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from workers.inference.backends.output_check import CheckedBackend
from workers.inference.execution.failures import DeviceFailed, causes
from workers.inference.lifecycle.reconciler import reason_of

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


def guarded(answer: Mapping[str, Array] | Exception, *, on_gpu: bool = True) -> CheckedBackend:
    return CheckedBackend(Answering(answer), "digits/1", SIGNATURE, on_gpu=on_gpu)


class OnnxruntimeError(Exception):
    """As those of ONNX Runtime: they have no ancestor but Exception."""

    __module__ = "onnxruntime.capi.onnxruntime_pybind11_state"


def raised_by_its_runtime(words: str) -> Exception:
    return OnnxruntimeError(words) if " failure " in words else RuntimeError(words)


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


STICKY = (
    "CUDA error: device-side assert triggered\nSearch for `cudaErrorAssert' in https://docs.nvidia.com/cuda/ for more.",
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: unspecified launch failure",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: unknown error",
    "CUDA driver error: unknown error",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k)`",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    (
        "Non-zero status code returned while running Gather node. Status Message: CUDA failure 710: device-side assert "
        "triggered ; GPU=0 ; hostname=h ; file=f.cc ; line=1 ; expr=cudaGetLastError()"
    ),
    "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=h ; expr=cudaStreamSynchronize(s)",
    "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0 ; hostname=h",
    "CUDNN failure 8: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0 ; hostname=h",
)


@pytest.mark.parametrize("words", STICKY, ids=lambda words: words[:40])
def test_an_error_after_which_the_device_answers_nothing_more_is_no_fault_of_the_jobs(words: str) -> None:
    with pytest.raises(DeviceFailed, match="digits/1: ") as caught:
        guarded(raised_by_its_runtime(words)).run(INPUTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", STICKY, ids=lambda words: words[:40])
def test_what_a_client_writes_is_not_taken_for_a_failed_device(words: str) -> None:
    errors = [ValueError(words), KeyError(words), RuntimeError(f"unknown label {words!r}"), OnnxruntimeError(words[:9])]
    for error in errors:
        with pytest.raises(JobError) as caught:
            guarded(error).run(INPUTS)
        assert type(caught.value) is JobError
    with pytest.raises(JobError):
        guarded(raised_by_its_runtime(words), on_gpu=False).run(INPUTS)


def test_what_a_client_writes_is_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(JobError) as caught:
        guarded(ValueError("unknown label 'out of memory'")).run(INPUTS)
    assert type(caught.value) is JobError


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: invalid configuration argument",
        "CUDA error: too many resources requested for launch",
        "CUDA failure 1: invalid argument ; GPU=0",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
        "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm`",
        "mat1 and mat2 shapes cannot be multiplied",
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    ],
)
def test_an_error_of_one_call_leaves_the_device_in_service(words: str) -> None:
    with pytest.raises(JobError) as caught:
        guarded(raised_by_its_runtime(words)).run(INPUTS)
    assert type(caught.value) is JobError


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ; GPU=0",
        "Available memory of 8 is smaller than requested bytes of 16: bad allocation",
    ],
)
def test_a_library_of_cuda_without_memory_is_no_failed_device(words: str) -> None:
    with pytest.raises(OutOfMemory):
        guarded(raised_by_its_runtime(words)).run(INPUTS)


class Hungry:
    """Runs out of memory with a large array in its hands."""

    def __init__(self) -> None:
        self.held: weakref.ref[Array] | None = None

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        activations = np.zeros(10)
        self.held = weakref.ref(activations)
        raise MemoryError(f"no room beside {activations.nbytes} bytes")

    def close(self) -> None:
        pass


def test_what_a_run_held_when_memory_ran_out_is_free_before_the_next_try() -> None:
    hungry = Hungry()
    with pytest.raises(OutOfMemory) as caught:
        CheckedBackend(hungry, "digits/1", SIGNATURE).run(INPUTS)
    assert hungry.held is not None
    assert hungry.held() is None
    assert "no room beside 80 bytes" in "".join(traceback.format_exception(caught.value))


class FakeTorch:
    """Torch with a GPU in use, as far as memory goes; what happens is written into `diary`."""

    def __init__(self, diary: list[str]) -> None:
        self.cuda = self
        self._diary = diary

    def is_initialized(self) -> bool:
        return True

    def empty_cache(self) -> None:
        self._diary.append("emptied")


def test_the_gpus_memory_is_given_back_after_a_model_is_closed_and_when_memory_ran_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    diary: list[str] = []
    monkeypatch.setitem(sys.modules, "torch", FakeTorch(diary))

    class Closing(Answering):
        def close(self) -> None:
            diary.append("closed")

    backend = CheckedBackend(Closing(RuntimeError("CUDA error: out of memory")), "digits/1", SIGNATURE, on_gpu=True)
    with pytest.raises(OutOfMemory):
        backend.run(INPUTS)
    assert diary == ["emptied"]
    backend.close()
    assert diary == ["emptied", "closed", "emptied"]


def test_a_device_that_cannot_give_memory_back_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed(FakeTorch):
        def empty_cache(self) -> None:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setitem(sys.modules, "torch", Failed([]))
    backend = CheckedBackend(Answering(RuntimeError("CUDA error: out of memory")), "digits/1", SIGNATURE, on_gpu=True)
    with pytest.raises(OutOfMemory):
        backend.run(INPUTS)
    backend.close()


class RateLimited(TransientFailure):
    def __init__(self) -> None:
        super().__init__("ask later")


@pytest.mark.parametrize(
    ("raised", "kind", "message", "param"),
    [
        (InvalidInput(ValueError("no number")), InvalidInput, "no number", None),  # type: ignore[arg-type]
        (InvalidInput("bad", param=3), InvalidInput, "bad", "3"),  # type: ignore[arg-type]
        (InvalidInput("\ud800"), InvalidInput, "?", None),
        (RateLimited(), TransientFailure, "ask later", None),
    ],
)
def test_whatever_a_handler_says_can_be_written(
    raised: Exception, kind: type[PenstockError], message: str, param: str | None
) -> None:
    with pytest.raises(kind) as caught:
        guarded(raised).run(INPUTS)
    assert type(caught.value) is kind
    assert caught.value.body() == kind(message, param=param).body()
    assert caught.value.__cause__ is raised


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (ValueError("no \ud800\nnumber"), "ValueError: no ? number"),
        (ValueError(" "), "ValueError"),
        (Speechless(), "Speechless"),
    ],
)
def test_what_clients_are_told_in_detail_can_be_written(raised: Exception, words: str) -> None:
    backend = CheckedBackend(Answering(raised), "digits/1", SIGNATURE, detail=True)
    with pytest.raises(JobError) as caught:
        backend.run(INPUTS)
    assert caught.value.body().message == f"digits/1 failed on this input ({words})"
    assert caught.value.__cause__ is raised


def its_own_cause(kind: type[Exception]) -> Exception:
    error = kind("x")
    error.__cause__ = error
    return error


def test_an_error_that_is_its_own_cause_is_looked_at_once() -> None:
    first, second = its_own_cause(ValueError), JobError("f")
    second.__cause__, second.__context__ = first, second
    assert list(causes(second)) == [second, first]
    assert reason_of(first) == "ValueError: x"
    with pytest.raises(OutOfMemory):
        CheckedBackend(Answering(its_own_cause(MemoryError)), "digits/1", SIGNATURE).run(INPUTS)


class Reusing:
    """Writes every answer into the same array, and gives that or a part of it."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._labels = np.zeros(ROWS if whole else 2 * ROWS, np.int64)

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        self._labels[:] = inputs["x"][0, 0]
        return {"label": self._labels if self._whole else self._labels[:ROWS], "scores": SOUND["scores"]}

    def close(self) -> None:
        pass


@pytest.mark.parametrize("whole", [True, False])
def test_an_answer_stays_as_it_was_when_the_model_writes_the_next_into_the_same_array(whole: bool) -> None:
    backend = CheckedBackend(Reusing(whole=whole), "digits/1", SIGNATURE)
    first = backend.run({"x": np.full((ROWS, 2), 1, np.float32)})["label"]
    second = backend.run({"x": np.full((ROWS, 2), 2, np.float32)})["label"]
    assert (first.tolist(), second.tolist()) == ([1] * ROWS, [2] * ROWS)
