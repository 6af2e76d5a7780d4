"""What a server refuses, and why jobs failed, as the one tree of errors has it."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import msgspec

from schemas.errors import ErrorBody, LaneFull, PenstockError, Refused, Unavailable

LONGEST_PAUSE_S: Final = 60.0
# Answers of a proxy before the server, or of a server that is away for a while.
_PASSING: Final = frozenset({502, 503, 504})


class _Problem(msgspec.Struct):
    error: ErrorBody


_problems: Final = msgspec.json.Decoder(_Problem)


def error_of_answer(answer: httpx.Response) -> PenstockError:
    try:
        body = _problems.decode(answer.content).error
    except (ValueError, UnicodeDecodeError):
        body = ErrorBody("http_error", f"HTTP {answer.status_code} {answer.reason_phrase}", "server_error")
        if answer.status_code in _PASSING:
            return Unavailable(body.message, retry_after_s=_retry_after_s(answer))
    return error_of(body, _retry_after_s(answer))


def error_of(body: ErrorBody, retry_after_s: float | None = None) -> PenstockError:
    """An error of the class that the code names; `Refused` for a code that nobody here knows."""
    cls = _BY_CODE.get(body.code)
    if cls is None:
        return Refused(body)
    if cls is LaneFull:
        return LaneFull(body.message, retry_after_s=retry_after_s)
    try:
        error = cls(body.message, param=body.param)
    except TypeError:  # one that is made of more, and never told to clients
        return Refused(body)
    error.retry_after_s = retry_after_s
    return error


def _retry_after_s(answer: httpx.Response) -> float | None:
    """Seconds or a date (RFC 9110), and no longer than anybody waits between two tries."""
    text = answer.headers.get("retry-after", "").strip()
    try:
        wait_s = float(text) if text.isdigit() else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, wait_s), LONGEST_PAUSE_S)


def _classes(root: type[PenstockError]) -> list[type[PenstockError]]:
    return [root, *(each for cls in root.__subclasses__() for each in _classes(cls))]


_BY_CODE: Final = {cls.code: cls for cls in reversed(_classes(PenstockError)) if "code" in vars(cls)}
