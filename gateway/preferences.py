"""The `Prefer` header (RFC 7240): `wait=N` and `respond-async`. Unknown and malformed preferences are ignored."""

from collections.abc import Iterable
from typing import Final

import msgspec

MAX_WAIT_S: Final = 60


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
    """Preferences from the values of all `Prefer` headers; the first of a name counts (RFC 7240, section 2)."""
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
