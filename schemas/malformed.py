"""Why bytes are not JSON, in words that help whoever wrote them."""

import re
from typing import Final

_PLACE: Final = re.compile(r"\(byte (\d+)\)")
# What many writers put down for numbers that JSON has no way to say.
_NO_NUMBER: Final = re.compile(rb"-?(?:NaN|Infinity)")
_LONGEST: Final = len(b"-Infinity")


def why_not_json(error: Exception, data: bytes | memoryview) -> str:
    """`error` is what msgspec raised over `data`; where it stopped at NaN or Infinity, that is what is told."""
    place = _PLACE.search(str(error))
    if place is None:
        return str(error)
    start = int(place[1])
    if data[max(0, start - 1) : start] == b"-":  # so far it might have become a number
        start -= 1
    found = _NO_NUMBER.match(bytes(data[start : start + _LONGEST]))
    return f"{found[0].decode()} at byte {start}; its numbers are finite" if found else str(error)
