"""What an operator wants of model versions: loaded, or not. One compacted record a version; without one, loaded."""

from datetime import datetime
from enum import StrEnum

import msgspec


class ModelState(StrEnum):
    LOADED = "loaded"  # by every worker that has the version and is to serve it
    UNLOADED = "unloaded"  # by none, whatever its repository holds


class WantedState(msgspec.Struct, frozen=True):
    """The state that was asked for last. The log's order decides which is last; `at` tells one time from the next."""

    state: ModelState
    at: datetime


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(WantedState)


def encode_state(wanted: WantedState) -> bytes:
    return _encoder.encode(wanted)


def decode_state(value: bytes) -> WantedState:
    """Raises `msgspec.ValidationError` or `msgspec.DecodeError` for anything else."""
    return _decoder.decode(value)
