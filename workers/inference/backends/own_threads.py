"""Models that are code keep the number of threads that torch had for them, whatever other models set meanwhile."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from schemas.tensors import Array
from workers.inference.backends.protocol import Backend
from workers.inference.backends.threads import usable_cores


class OwnThreads:
    """Loads `inner` with as many threads for torch as there are cores, and runs it with as many as it has left then."""

    def __init__(self, load: Callable[[], Backend]) -> None:
        _set_torch_threads(usable_cores())
        self._inner = load()
        self._threads = _torch_threads() or usable_cores()

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        _set_torch_threads(self._threads)
        return self._inner.run(inputs, parameters)

    def close(self) -> None:
        self._inner.close()
        del self._inner


def _torch_threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def _set_torch_threads(threads: int) -> None:
    """Where torch is in use at all. Torch's number is one for all models in a thread."""
    if _torch_threads() not in (None, threads):
        sys.modules["torch"].set_num_threads(threads)
