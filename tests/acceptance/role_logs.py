"""What the roles wrote, so that a failed test can show it."""

import threading
from collections import deque

MANY_LINES = 5000
SHOWN_LINES = 400


class RoleLogs:
    """Hears every line of every role, from whichever thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: deque[tuple[int, str]] = deque(maxlen=MANY_LINES)
        self._count = 0

    def hear(self, name: str, line: str) -> None:
        self.announce(f"{name:<9} | {line}")

    def announce(self, line: str) -> None:
        with self._lock:
            self._count += 1
            self._lines.append((self._count, line))

    @property
    def count(self) -> int:
        return self._count

    def since(self, count: int) -> str:
        """The last lines of those after the first `count`."""
        with self._lock:
            lines = [line for number, line in self._lines if number > count]
        return "\n".join(lines[-SHOWN_LINES:])


LOGS = RoleLogs()
