"""How many submits, and how many bytes of them, may be in the gateway's hands at a time."""

from typing import Final

from schemas.errors import Unavailable

RETRY_AFTER_S: Final = 1.0


class InFlight:
    """Counts submits in and out; refuses those beyond the limits, before their bodies are read."""

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self.count = 0  # at present
        self._bytes = 0

    def enter(self, body_bytes: int) -> None:
        """Raises `Unavailable`. Each call that returns is followed by one `leave` with the same figure."""
        if self.count >= self._limit or self._bytes + body_bytes > self._limit_bytes:
            raise Unavailable("The gateway is busy with as many jobs as it can take.", retry_after_s=RETRY_AFTER_S)
        self.count += 1
        self._bytes += body_bytes

    def leave(self, body_bytes: int) -> None:
        self.count -= 1
        self._bytes -= body_bytes
