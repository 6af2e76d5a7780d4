"""Lines of a user's file as a batch's lines."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from schemas.batches import endpoint_of
from schemas.errors import RequestError
from schemas.malformed import UTF8_BOM, why_not_json
from schemas.names import is_model_name

MODEL_URL: Final = "/v1/models/{model}/jobs"
VERSION_URL: Final = "/v1/models/{model}/versions/{version}/jobs"


class _Line(msgspec.Struct):
    custom_id: str | None = None
    url: str | None = None


_decoder: Final = msgspec.json.Decoder(_Line)
_any: Final = msgspec.json.Decoder(msgspec.Raw)


def url_of(model: str, version: str | None) -> str:
    return VERSION_URL.format(model=model, version=version) if version else MODEL_URL.format(model=model)


def numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, by their numbers from 1; the first without a byte order mark."""
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(UTF8_BOM) if number == 1 else line
        if text.strip():
            yield number, text


def asked_url(number: int, line: bytes) -> str | None:
    """The URL that a batch's line asks; None for a payload alone. Raises `RequestError` for what is neither."""
    try:
        return _decoder.decode(line).url
    except msgspec.ValidationError as error:
        raise RequestError(f"line {number} is no request: {error}") from error
    except msgspec.DecodeError as error:
        raise RequestError(f"line {number} is not valid JSON: {why_not_json(error, line)}") from error


def wrapped(lines: Iterable[bytes], url: str) -> Iterator[bytes]:
    """A payload a line as lines of a batch, whose custom ids are `line-<number>`, by their numbers from 1; blank lines
    are left out. Raises `RequestError`."""
    for number, line in numbered(lines):
        try:
            body = _any.decode(line)
        except ValueError as error:  # msgspec's errors are ValueErrors
            raise RequestError(f"line {number} is not valid JSON: {error}") from error
        told = {"custom_id": f"line-{number}", "method": "POST", "url": url, "body": body}
        yield msgspec.json.encode(told) + b"\n"


def is_endpoint(url: str) -> bool:
    endpoint = endpoint_of(url)
    return endpoint is not None and (endpoint.model is None or is_model_name(endpoint.model))
