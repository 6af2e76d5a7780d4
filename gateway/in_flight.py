"""How many submits may be in the gateway's hands at a time. What they hold is counted by the process's budget."""

from types import TracebackType
from typing import Final

from schemas.errors import Unavailable

RETRY_AFTER_S: Final = 1.0


class InFlight:
    """Counts submits in and out, as a context; refuses those beyond the limit, before their bodies are read."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.count = 0  # at present

    def __enter__(self) -> None:
        """Raises `Unavailable`."""
        if self.count >= self._limit:
            raise Unavailable("The gateway is busy with as many jobs as it can take.", retry_after_s=RETRY_AFTER_S)
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.count -= 1
