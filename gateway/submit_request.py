"""What a submit asks for, read from its path, headers, query and body. Pure."""

from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from gateway.envelope import options_of, parse_envelope
from gateway.multipart import single_file
from gateway.options import Options, options_from_query
from schemas.errors import RequestError, UnsupportedMediaType
from schemas.images import IMAGE_TYPES
from schemas.jobs import Payload
from schemas.oip import JSON, OCTET_STREAM

ENVELOPE_ROUTE: Final = "/v1/jobs"
MODEL_ROUTE: Final = "/v1/models/{model}/jobs"
VERSION_ROUTE: Final = "/v1/models/{model}/versions/{version}/jobs"
FORM: Final = "multipart/form-data"


class Target(NamedTuple):
    """A submit's route template, and the model and version that its path names."""

    route: str
    model: str | None = None
    version: str | None = None


class Submit(msgspec.Struct, frozen=True):
    """What is asked for; neither model nor input has been held against the catalog yet."""

    model: str
    version: str | None
    payload: Payload
    options: Options


_ENVELOPE: Final = Target(ENVELOPE_ROUTE)


def submit_target(path: str) -> Target | None:
    """The submit route that a path means, if it means one."""
    if path == ENVELOPE_ROUTE:
        return _ENVELOPE
    if not (path.startswith("/v1/models/") and path.endswith("/jobs")):
        return None
    parts = path.split("/")
    if len(parts) == 5 and parts[3]:
        return Target(MODEL_ROUTE, parts[3])
    if len(parts) == 7 and parts[3] and parts[4] == "versions" and parts[5]:
        return Target(VERSION_ROUTE, parts[3], parts[5])
    return None


def read_submit(target: Target, headers: Mapping[bytes, bytes], query: bytes, body: bytes) -> Submit:
    """Raises `RequestError` and its kin, naming the field and the rule."""
    content_type = headers.get(b"content-type", b"")
    media_type = content_type.partition(b";")[0].strip().lower().decode("latin-1")
    if target.model is None:
        return _from_envelope(media_type, query, body)
    payload = _payload(headers, content_type, media_type, body)
    return Submit(target.model, target.version, payload, options_from_query(query))


def _from_envelope(media_type: str, query: bytes, body: bytes) -> Submit:
    if not _is_json(media_type):
        raise UnsupportedMediaType(
            f"content type {media_type!r}: send application/json, or post the bare input to {MODEL_ROUTE}",
            param="Content-Type",
        )
    if query:
        raise RequestError(f"{ENVELOPE_ROUTE} takes no query parameters: a job's options stand in its body")
    envelope = parse_envelope(_unmarked(body))
    return Submit(envelope.model, envelope.version, Payload(bytes(envelope.input)), options_of(envelope))


def _payload(headers: Mapping[bytes, bytes], content_type: bytes, media_type: str, body: bytes) -> Payload:
    if media_type == FORM:
        file = single_file(content_type, body)
        if file.content_type not in IMAGE_TYPES:
            raise UnsupportedMediaType(
                f"the form's file is {file.content_type!r}: send image/png or image/jpeg", param="Content-Type"
            )
        return Payload(file.data, file.content_type)
    json_length = headers.get(b"inference-header-content-length")
    if json_length is None:
        # What is no JSON by name goes on as it is: the model's signature knows whether it takes images.
        return Payload(_unmarked(body), JSON) if _is_json(media_type) else Payload(body, media_type)
    if not json_length.isdigit() or len(json_length) > 18:
        raise RequestError(
            "Inference-Header-Content-Length is not a number of bytes", param="Inference-Header-Content-Length"
        )
    # Clients of the protocol send all sorts of content types with this header, or none.
    return Payload(body, OCTET_STREAM, int(json_length))


def _unmarked(body: bytes) -> bytes:
    """Without a byte order mark, which some writers put before JSON (RFC 8259, section 8.1)."""
    return body.removeprefix(BOM_UTF8)


def _is_json(media_type: str) -> bool:
    return media_type in ("", JSON) or media_type.endswith("+json")
