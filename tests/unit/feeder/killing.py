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
            number = self._killer.before()
            answer = await method(*arguments, **named)
            self._killer.after(number)
            return answer

        return call


class Killer:
    """Calls are numbered from 1 as they begin; several may be under way."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._at = at
        self._after = after
        self._calls = 0

    def before(self) -> int:
        self._calls += 1
        if self._calls == self._at and not self._after:
            raise Killed
        return self._calls

    def after(self, number: int) -> None:
        if number == self._at and self._after:
            raise Killed
