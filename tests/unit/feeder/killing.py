"""Processes that end in the middle of what they do."""

from typing import Any

from tests.unit.feeder.house import Killed


class Cut:
    """Ends the process before, or after, its nth call, whatever that is."""

    def __init__(self, inner: Any, killer: "Killer") -> None:
        self._inner = inner
        self._killer = killer

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name in ("read", "entries"):
            return method

        async def call(*arguments: Any, **named: Any) -> Any:
            self._killer.before()
            answer = await method(*arguments, **named)
            self._killer.after()
            return answer

        return call


class Killer:
    def __init__(self, at: int, *, after: bool) -> None:
        self._left = at
        self._after = after

    def before(self) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed

    def after(self) -> None:
        if self._left == 0 and self._after:
            raise Killed
