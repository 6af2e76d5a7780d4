"""What is wrong with bytes that a client sent, in words that help whoever wrote them."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final, TypeVar

import msgspec

from schemas.errors import InvalidInput, PayloadTooLarge, PenstockError, RequestError

T = TypeVar("T")

UTF8_BOM: Final = b"\xef\xbb\xbf"
# In what msgspec says of a document: the member that it does not know, and where something is wrong.
UNKNOWN_MEMBER: Final = re.compile(r"unknown field `([^`]*)`")
AT: Final = re.compile(r" - at `\$\.?([^`]*)`")

_MEMBER: Final = re.compile(r"(?:field `|at `\$\.)([^`]+)`")
_PLACE: Final = re.compile(r"\(byte (\d+)\)")
# What many writers put down for numbers that JSON has no way to say.
_NO_NUMBER: Final = re.compile(rb"-?(?:NaN|Infinity)")
_LONGEST: Final = len(b"-Infinity")
# A decoder stops right behind a half of a character.
_NEAR_BYTES: Final = 64
# Source: Confluent's wire format: a zero byte, the schema's id in four, then what was serialized.
_FRAMED_JSON: Final = re.compile(rb"\x00.{4}\s*[{\[]", re.DOTALL)
_UTF16_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
# An escaped half of a character: the first without the second, or the second without the first.
_HALF: Final = re.compile(
    rb"(?<!\\)(?:\\\\)*(?:(?P<high>\\u[dD][89abAB][0-9a-fA-F]{2})(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|(?P<low>\\u[dD][c-fC-F]..))"
)


def read_body(decoder: msgspec.json.Decoder[T], body: bytes, what: str) -> T:
    """A request's body; `what` says what it is. Raises `RequestError` naming the member and what is wrong with it."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _MEMBER.search(str(error))
        param = found[1].partition("[")[0][:64] if found else None
        raise RequestError(f"the body is no {what}: {error}", param=param) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not valid JSON: {why_not_json(error, body)}") from error
    except RecursionError as error:
        raise RequestError("the body is nested too deeply") from error


def why_not_json(error: Exception, data: bytes | memoryview) -> str:
    """`error` is what msgspec raised over `data`. NaN, Infinity and halves of characters are told by their names."""
    if isinstance(error, UnicodeDecodeError):
        return f"it holds text that is not UTF-8: {error.reason}"
    if bytes(data[:2]) in _UTF16_BOMS:
        return "it is UTF-16; JSON is sent as UTF-8"
    if _FRAMED_JSON.match(bytes(data[:16])):
        return "it begins with the frame of a Schema Registry serializer (a zero byte and a schema id): send plain JSON"
    place = _PLACE.search(str(error))
    half = None
    # Without a place the data ends too early: what follows is missing. Behind a half the decoder expects the other.
    if place is None or "surrogate" in str(error) or "hex escape" in str(error):
        half = _half_character(bytes(data), len(data) if place is None else int(place[1]))
    if half is not None:
        return half
    if place is None:
        return str(error)
    start = int(place[1])
    if data[max(0, start - 1) : start] == b"-":  # so far it might have become a number
        start -= 1
    found = _NO_NUMBER.match(bytes(data[start : start + _LONGEST]))
    return f"{found[0].decode()} at byte {start}; its numbers are finite" if found else str(error)


def _half_character(data: bytes, end: int) -> str | None:
    """Looks shortly before `end`, where the decoder stopped: to go through all of it would take long."""
    start = max(0, end - _NEAR_BYTES)
    told = None
    for found in _HALF.finditer(data[start:end]):  # the last: of the first, the other half may be cut off
        if found["low"] is not None or found[2] is None:
            half = "low" if found["low"] is not None else "high"
            place = start + found.start(half)
            told = f"{found[half].decode('latin-1')} at byte {place} is half of a character (a lone surrogate)"
    return told


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like it; None where none is."""
    return next(iter(get_close_matches(name[:64], known, 1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint to go with the refusal of an unknown name; empty where none of the known ones is like it."""
    close = closest(name, known)
    return "" if close is None else f"; did you mean {close}?"


def as_refusal(error: Exception) -> PenstockError:
    """What the client is told of an error that came up while its input was read.

    Every decoder and library raises what it likes over bytes that somebody made up. Whatever it is, the input is to
    blame, and the caller is told so; the error itself stays the cause.
    """
    if isinstance(error, PenstockError):
        return error
    if isinstance(error, RecursionError):  # how deep is too deep depends on who calls: any decoder may be the one
        return InvalidInput("input is nested too deeply", param="input")
    if isinstance(error, UnicodeDecodeError):  # each decoder reads only its own part of the text
        return InvalidInput(f"input holds text that is not UTF-8: {error.reason}", param="input")
    if isinstance(error, MemoryError):
        return PayloadTooLarge("input takes more memory than there is", param="input")
    return InvalidInput(f"input cannot be read ({type(error).__name__})", param="input")
