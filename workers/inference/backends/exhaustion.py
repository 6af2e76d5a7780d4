"""Telling that memory ran out from any other failure: runtimes share no error class for it."""

import re
from typing import Final

# In order: torch on CUDA and the CUDA driver; ONNX Runtime's arenas; torch on the CPU; C++; cuBLAS and cuDNN.
_WORDS: Final = re.compile(
    r"out of memory|failed to allocate memory|can't allocate memory|bad_alloc|bad allocation|_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def memory_ran_out(error: BaseException) -> bool:
    """Whether `error` says that the device or the host had no room for what was being run."""
    return isinstance(error, MemoryError) or (isinstance(error, Exception) and bool(_WORDS.search(str(error))))
