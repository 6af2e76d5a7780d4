"""The catalog: what the workers can serve. One compacted record a model version; a tombstone takes it back."""

from datetime import datetime
from typing import Any

import msgspec

from schemas.names import is_model_name, is_version
from schemas.signature import Signature


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One model version as a worker announces it.

    An entry stays when its workers go: jobs for it wait in its lane until a worker is back.
    """

    model: str
    version: str
    signature: Signature
    platform: str
    max_batch_size: int
    is_default: bool = False
    description: str = ""
    retention_s: int | None = None  # how long its jobs are kept that say nothing of it; None: the default
    metrics: dict[str, Any] = {}
    announced_at: datetime

    @property
    def key(self) -> bytes:
        return version_key(self.model, self.version)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(CatalogEntry)


def encode_entry(entry: CatalogEntry) -> bytes:
    return _encoder.encode(entry)


def decode_entry(value: bytes) -> CatalogEntry:
    """The entry in a catalog record. Raises `msgspec.ValidationError` or `msgspec.DecodeError` for anything else."""
    entry = _decoder.decode(value)
    if not (is_model_name(entry.model) and is_version(entry.version)):
        raise msgspec.ValidationError(f"not a model version: {entry.model}/{entry.version}")
    return entry


def version_key(model: str, version: str) -> bytes:
    """The key of a version's records in the control topics."""
    return f"{model}/{version}".encode()


def parse_key(key: bytes) -> tuple[str, str]:
    """`(model, version)` of such a key."""
    model, _, version = key.decode("utf-8", "replace").partition("/")
    return model, version
