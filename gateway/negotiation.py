"""Whether a client wants a result as JSON or as raw tensors (RFC 9110, section 12.5.1)."""

from schemas.errors import NotAcceptable
from schemas.jobs import JSON, OCTET_STREAM


def wants_binary(accept: str) -> bool:
    """True where application/octet-stream is preferred to JSON. Raises `NotAcceptable` where neither is taken."""
    ranges = _ranges(accept) or {"*/*": 1.0}
    json, binary = _quality(ranges, JSON), _quality(ranges, OCTET_STREAM)
    if json <= 0 and binary <= 0:
        raise NotAcceptable(f"results come as {JSON} or {OCTET_STREAM}", param="Accept")
    return binary > json


def _quality(ranges: dict[str, float], media_type: str) -> float:
    """The quality of the most specific range that covers the media type."""
    kind = media_type.partition("/")[0]
    for covering in (media_type, f"{kind}/*", "*/*"):
        if covering in ranges:
            return ranges[covering]
    return 0.0


def _ranges(accept: str) -> dict[str, float]:
    ranges = {}
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        if name:
            ranges[name] = next((_weight(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
    return ranges


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
