"""What clients ask of batches. Pure."""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from gateway.batches.uploads import check_expiry
from schemas.batches import ENDPOINTS, Endpoint, completion_window, endpoint_of
from schemas.errors import RequestError
from schemas.malformed import read_body
from schemas.names import is_model_name
from schemas.promises import daily_hours

# OpenAI's limits of metadata, in characters.
MOST_PAIRS: Final = 16
MAX_KEY: Final = 64
MAX_VALUE: Final = 512
# The same as a member and as text in the metadata, where clients of OpenAI put what their types do not have.
PRIORITY: Final = "priority"
MAX_PRIORITY: Final = 1_000_000
_PRIORITY: Final = re.compile(r"-?[0-9]{1,7}")


class ExpiresAfter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    anchor: Literal["created_at"]
    seconds: int


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/batches`."""

    input_file_id: str
    endpoint: Annotated[str, msgspec.Meta(description=f"The URL of each line: {ENDPOINTS}.")]
    completion_window: Annotated[
        str,
        msgspec.Meta(
            description="`24h`, or so many minutes, hours or days, 30d at most. What has no end by then expires.",
            examples=["24h"],
        ),
    ]
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None
    priority: Annotated[
        int | None, msgspec.Meta(description="Higher goes first. May stand in `metadata` as text instead.")
    ] = None
    deadline: Annotated[
        datetime | None,
        msgspec.Meta(
            description="All is to have ended by then. The batch is refused where that cannot be kept beside what was "
            "promised before; the refusal says the earliest deadline that could be."
        ),
    ] = None
    not_before: Annotated[datetime | None, msgspec.Meta(description="Nothing of it is sent before.")] = None
    daily: Annotated[
        str | None,
        msgspec.Meta(
            description="Hours of each day, in UTC, within which it is sent, over midnight if need be.",
            examples=["22:00-06:00"],
        ),
    ] = None


class Asked(msgspec.Struct, frozen=True):
    """A request whose members keep their rules."""

    request: BatchRequest
    endpoint: Endpoint
    window_s: float
    priority: int
    metadata: dict[str, Any]
    output_expires_after_s: int | None


_decoder: Final = msgspec.json.Decoder(BatchRequest)


def read_batch_request(body: bytes) -> Asked:
    """Raises `RequestError` naming the member and its rule."""
    request = read_body(_decoder, body, "batch")
    endpoint = endpoint_of(request.endpoint)
    if endpoint is None or (endpoint.model is not None and not is_model_name(endpoint.model)):
        raise RequestError(f"endpoint must be one of {ENDPOINTS}", param="endpoint")
    try:
        window = completion_window(request.completion_window)
    except ValueError as error:
        raise RequestError(str(error), param="completion_window") from error
    _check_times(request, endpoint)
    metadata = _metadata(request)
    expiry = request.output_expires_after
    return Asked(
        request,
        endpoint,
        window.total_seconds(),
        _priority(request, metadata),
        metadata,
        None if expiry is None else check_expiry(expiry.seconds),
    )


def _check_times(request: BatchRequest, endpoint: Endpoint) -> None:
    for name in ("deadline", "not_before"):
        moment: datetime | None = getattr(request, name)
        if moment is not None and moment.tzinfo is None:
            raise RequestError(f"{name} needs a time zone", param=name)
    if request.daily is not None:
        try:
            daily_hours(request.daily)
        except ValueError as error:
            raise RequestError(str(error), param="daily") from error
    if request.deadline is not None and endpoint.model is None:
        raise RequestError("a batch with a deadline needs an endpoint that names its model", param="deadline")


def _metadata(request: BatchRequest) -> dict[str, Any]:
    metadata = request.metadata or {}
    if len(metadata) > MOST_PAIRS:
        raise RequestError(f"metadata has {len(metadata)} pairs; {MOST_PAIRS} at most", param="metadata")
    for key, value in metadata.items():
        if not 0 < len(key) <= MAX_KEY or len(value) > MAX_VALUE:
            raise RequestError(
                f"metadata: keys have 1 to {MAX_KEY} characters, values {MAX_VALUE} at most", param="metadata"
            )
    return dict(metadata)


def _priority(request: BatchRequest, metadata: dict[str, Any]) -> int:
    if request.priority is not None:
        priority = request.priority
    else:
        text = metadata.get(PRIORITY, "0")
        if not _PRIORITY.fullmatch(text):
            raise RequestError("metadata.priority must be a whole number", param="metadata.priority")
        priority = int(text)
    if abs(priority) > MAX_PRIORITY:
        raise RequestError(f"priority must be between -{MAX_PRIORITY} and {MAX_PRIORITY}", param=PRIORITY)
    return priority
