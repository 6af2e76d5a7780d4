"""What an answer means. Pure."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from schemas.webhooks import LONGEST_RETRY_AFTER_S
from stores.webhooks import Verdict

_GONE: Final = 410
_HEAD_CHARACTERS: Final = 500
_BODY_CHARACTERS: Final = 500

Headers = list[tuple[bytes, bytes]]


def verdict_of(status: int) -> Verdict:
    if 200 <= status < 300:
        return Verdict.DELIVERED
    return Verdict.GONE if status == _GONE else Verdict.FAILED


def why_failed(status: int) -> str | None:
    """In words, for the endpoint's owner; None where it was delivered."""
    match verdict_of(status):
        case Verdict.DELIVERED:
            return None
        case Verdict.GONE:
            return "it answered 410: it wants no more events"
        case _ if 300 <= status < 400:
            return f"it answered {status}: redirects are not followed"
        case _:
            return f"it answered {status}"


def retry_after_s(headers: Headers, now: datetime) -> float | None:
    """What `Retry-After` asks for, in seconds or as a date (RFC 9110, section 10.2.3), up to a day."""
    text = next((value for name, value in headers if name.lower() == b"retry-after"), b"").decode("latin-1").strip()
    if not text:
        return None
    wanted_s = _seconds(text, now)
    return None if wanted_s is None else min(max(wanted_s, 0.0), float(LONGEST_RETRY_AFTER_S))


def _seconds(text: str, now: datetime) -> float | None:
    if text.isascii() and text.isdigit():
        return float(text[:20])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()


def head_of(status: int, reason: bytes, headers: Headers, body: bytes) -> str:
    """The beginning of an answer, short and printable: its status, headers, and of its body, if that is text."""
    lines = [f"{status} {reason.decode('latin-1')}".rstrip()]
    lines += [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in headers]
    head = printable("\n".join(lines), _HEAD_CHARACTERS)
    # Four bytes are enough for any character.
    text = printable(body[: 4 * _BODY_CHARACTERS].decode(errors="replace"), _BODY_CHARACTERS)
    return f"{head}\n\n{text}" if text else head


def printable(text: str, characters: int) -> str:
    """Cut to so many characters, with a mark in the place of what cannot be shown."""
    shown = text if len(text) <= characters else f"{text[: characters - 3]}..."
    return "".join(mark if mark.isprintable() or mark == "\n" else "\N{REPLACEMENT CHARACTER}" for mark in shown)
