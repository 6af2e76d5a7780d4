"""What a request says beside its body: whose it is, what it prefers (RFC 7240), and whether its client still waits."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from starlette.types import Receive

from schemas.names import DEFAULT_TENANT

MAX_WAIT_S: Final = 60
# A task for each request that waits costs more than to find out a second late that nobody does.
NOTICED_AFTER_S: Final = 1.0


def tenant_of(scope: Mapping[str, Any]) -> str:  # noqa: ARG001 - keys will be read from the request
    """The tenant a request acts for. One place, so that API keys can come without a change elsewhere."""
    return DEFAULT_TENANT


class Preferences(msgspec.Struct, frozen=True):
    """What the client prefers: to wait at most `wait_s` seconds, or to be answered at once."""

    wait_s: int | None = None
    respond_async: bool = False

    @property
    def applied(self) -> bytes | None:
        """The value of `Preference-Applied`; a longer wait than we allow is applied as the longest."""
        applied = []
        if self.respond_async:
            applied.append(b"respond-async")
        if self.wait_s is not None:
            applied.append(b"wait=%d" % self.wait_s)
        return b", ".join(applied) or None


NONE: Final = Preferences()


def parse_preferences(values: Iterable[bytes]) -> Preferences:
    """Preferences from the values of all `Prefer` headers; the first of a name counts (RFC 7240, section 2).

    Unknown and malformed preferences are ignored.
    """
    found: dict[str, str] = {}
    for value in values:
        for preference in value.decode("latin-1").split(","):
            name, _, argument = preference.partition(";")[0].partition("=")
            found.setdefault(name.strip().lower(), argument.strip().strip('"'))
    return Preferences(_seconds(found.get("wait")), "respond-async" in found)


def _seconds(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return None
    return min(int(text), MAX_WAIT_S)


@contextmanager
def noticed(receive: Receive, wake: Callable[[], None], after_s: float = NOTICED_AFTER_S) -> Iterator[asyncio.Event]:
    """An event that is set, and `wake` called, once the client closes the connection. The body must have been read.

    Nobody listens before `after_s`: most waits are over by then, and who left before is noticed then.
    """
    gone = asyncio.Event()
    listening: list[asyncio.Task[None]] = []

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        wake()

    loop = asyncio.get_running_loop()
    timer = loop.call_later(after_s, lambda: listening.append(loop.create_task(listen())))
    try:
        yield gone
    finally:
        timer.cancel()
        for task in listening:
            task.cancel()
