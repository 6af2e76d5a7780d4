"""What an error of a runtime is about. Runtimes share no class for it, so their words decide. Pure.

Sources of the words: CUDA's runtime API (`cudaError`), cuBLAS (`cublasStatus_t`) and cuDNN 9 (`cudnnStatus_t`); how
torch (`CUDA error: <what>`, `cuDNN error: <status>`) and ONNX Runtime (`CUDA failure <number>: <what> ; GPU=0 ; ...`)
write them. A model's own code may repeat what a client has written in an error of any class; so torch's words count at
the beginning of a RuntimeError, and ONNX Runtime's within its own classes.
"""

import re
from typing import Final

# In order: torch on CUDA and the CUDA driver; ONNX Runtime's arenas; torch on the CPU; C++; cuBLAS and cuDNN.
_NO_MEMORY: Final = re.compile(
    r"out of memory|failed to allocate memory|can(no|')t allocate memory|not enough memory|bad_alloc|bad allocation"
    r"|_ALLOC_FAILED|_ALLOCATION_FAILED|cudaErrorMemoryAllocation",
    re.IGNORECASE,
)
_OF_TORCH: Final = re.compile(r"(CUDA( driver)?|cuDNN|cuBLAS|cuFFT|cuSPARSE|cuSOLVER|NCCL) error", re.IGNORECASE)
_OF_ONNXRUNTIME: Final = re.compile(r"(CUDA|CUBLAS|CUDNN|CUFFT|NCCL) failure -?\d+: ")
# Errors of one call, which leave the context as it was: the call asked for what cannot be had.
_ONE_CALL: Final = re.compile(
    r"invalid argument|invalid configuration argument|invalid device function|too many resources requested for launch"
    r"|operation not supported|no kernel image|cooperative launch|_STATUS_NOT_SUPPORTED|_STATUS_BAD_PARAM"
    r"|_STATUS_INVALID_VALUE|_STATUS_ARCH_MISMATCH",
    re.IGNORECASE,
)


def memory_ran_out(error: BaseException) -> bool:
    """Whether `error` says that the device or the host had no room for what was being run."""
    if isinstance(error, MemoryError):
        return True
    speaks = isinstance(error, RuntimeError | OSError) or _is_onnxruntimes(error)
    return speaks and bool(_NO_MEMORY.search(str(error)))


def names_device(error: BaseException) -> bool:
    """Whether `error` comes from CUDA or its libraries, whatever follows from it."""
    if isinstance(error, RuntimeError):
        return bool(_OF_TORCH.match(str(error)))
    return _is_onnxruntimes(error) and bool(_OF_ONNXRUNTIME.search(str(error)))


def device_failed(error: BaseException) -> bool:
    """Whether `error` says that the device, or this process's context on it, can do nothing any more.

    After most errors of CUDA every later call fails alike until the process ends: an assertion in a kernel, an illegal
    address, an uncorrectable memory error. So what is not known to be harmless counts as such.
    """
    return names_device(error) and not _ONE_CALL.search(str(error)) and not memory_ran_out(error)


def _is_onnxruntimes(error: BaseException) -> bool:
    return isinstance(error, Exception) and type(error).__module__.startswith("onnxruntime")
