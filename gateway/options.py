"""A job's options: from the envelope's fields, or from query parameters where the body is the payload itself."""

from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from schemas.errors import RequestError
from schemas.metadata import parse_metadata
from schemas.topics import LaneClass

MAX_STICKY_KEY: Final = 255
MAX_QUERY_FIELDS: Final = 32
KNOWN: Final = ("lane", "timeout_s", "sticky_key", "metadata", "webhook", "webhook_events_filter")


class Options(msgspec.Struct, frozen=True):
    """Everything about a job that is neither its model nor its input. `timeout_s` is None for the default."""

    lane: LaneClass = LaneClass.LIVE
    timeout_s: float | None = None
    metadata: dict[str, Any] = {}


DEFAULT: Final = Options()


def check_options(
    lane: LaneClass, timeout_s: float | None, metadata: bytes | None, sticky_key: str | None, *, webhooks: bool
) -> Options:
    """Options once each keeps its rule. The timeout's upper limit is the gateway's to check.

    A sticky key asks for one version for all jobs that share it; with one version open to unpinned jobs, every key
    gets that one.
    """
    if webhooks:
        raise RequestError("webhooks are not available on this server: leave webhook out and poll", param="webhook")
    if sticky_key is not None and not 0 < len(sticky_key) <= MAX_STICKY_KEY:
        raise RequestError(f"sticky_key must have 1 to {MAX_STICKY_KEY} characters", param="sticky_key")
    return Options(lane, timeout_s, parse_metadata(metadata) if metadata is not None else {})


def options_from_query(query: bytes) -> Options:
    """Options from a raw query string. Raises `RequestError` for a parameter unknown, repeated or malformed."""
    if not query:
        return DEFAULT
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=MAX_QUERY_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise RequestError("the query string is malformed") from error
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name not in KNOWN:
            raise RequestError(f"unknown query parameter {name[:64]!r}; there are {', '.join(KNOWN)}", param=name[:64])
        if name in fields:
            raise RequestError(f"query parameter {name} is given twice", param=name)
        fields[name] = value
    metadata = fields.get("metadata")
    return check_options(
        _lane(fields.get("lane", LaneClass.LIVE)),
        _seconds(fields.get("timeout_s")),
        metadata.encode() if metadata is not None else None,
        fields.get("sticky_key"),
        webhooks="webhook" in fields or "webhook_events_filter" in fields,
    )


def _lane(text: str) -> LaneClass:
    try:
        return LaneClass(text)
    except ValueError as error:
        raise RequestError(f"lane must be one of {', '.join(LaneClass)}", param="lane") from error


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=float)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError("timeout_s must be a number of seconds", param="timeout_s") from error
