"""What an error of a runtime is about. Runtimes share no class for it, so their words decide. Pure.

Sources of the words: CUDA's runtime API (`cudaError`), cuBLAS (`cublasStatus_t`) and cuDNN 9 (`cudnnStatus_t`); how
torch (`CUDA error: <what>`, `cuDNN error: <status>`) and ONNX Runtime (`CUDA failure <number>: <what> ; GPU=0 ; ...`)
write them.
"""

import re
from collections.abc import Iterator
from typing import Final

# In order: torch on CUDA and the CUDA driver; ONNX Runtime's arenas; torch on the CPU; C++; cuBLAS and cuDNN.
_NO_MEMORY: Final = re.compile(
    r"out of memory|failed to allocate memory|can't allocate memory|bad_alloc|bad allocation|_ALLOC_FAILED"
    r"|_ALLOCATION_FAILED|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation",
    re.IGNORECASE,
)
_DEVICE: Final = re.compile(
    r"\bCUDA (driver )?error\b|\bCUDA failure\b|\bcu(BLAS|DNN|FFT|SPARSE|SOLVER)(Lt)? (error|failure)\b|\bNCCL error\b",
    re.IGNORECASE,
)
# Errors of one call, which leave the context as it was: the call asked for what cannot be had.
_ONE_CALL: Final = re.compile(
    r"invalid argument|invalid configuration argument|invalid device function|too many resources requested for launch"
    r"|operation not supported|no kernel image|cooperative launch|_STATUS_NOT_SUPPORTED|_STATUS_BAD_PARAM"
    r"|_STATUS_INVALID_VALUE|_STATUS_ARCH_MISMATCH",
    re.IGNORECASE,
)


def memory_ran_out(error: BaseException) -> bool:
    """Whether `error` says that the device or the host had no room for what was being run."""
    return isinstance(error, MemoryError) or (isinstance(error, Exception) and bool(_NO_MEMORY.search(str(error))))


def names_device(error: BaseException) -> bool:
    """Whether `error` comes from CUDA or its libraries, whatever follows from it."""
    return bool(_DEVICE.search(str(error)))


def device_failed(error: BaseException) -> bool:
    """Whether `error` says that the device, or this process's context on it, can do nothing any more.

    After most errors of CUDA every later call fails alike until the process ends: an assertion in a kernel, an illegal
    address, an uncorrectable memory error. So what is not known to be harmless counts as such.
    """
    return isinstance(error, Exception) and names_device(error) and not _ONE_CALL.search(str(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
