"""Records of the requests topic as producers write them, and a catalog to route them by."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.catalog import CatalogEntry
from schemas.routes import Route
from schemas.signature import ImageSpec, Signature, TensorSpec
from schemas.topics import Topics
from schemas.versions import CatalogSnapshot
from tests.unit.schemas.reading import no_limit
from workers.consuming.protocols import Record
from workers.router.routing import Dead, Refused, Routed, route
from workers.router.submission import Limits

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
WRITTEN = NOW - timedelta(seconds=2)
TOPICS = Topics("penstock")

VECTOR = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=(TensorSpec("y", "FP32", (-1,)),))
DIGITS = Signature(
    inputs=(TensorSpec("image", "FP32", (-1, 8, 8)),),
    outputs=(TensorSpec("label", "INT64", (-1,)),),
    image=ImageSpec("image", 8, 8, mode="L", layout="HW"),
)

NO_ROUTES: Mapping[str, Route] = {}
INSTANCES = {"instances": [[1, 2], [3, 4]]}


def entry(model: str, version: str, signature: Signature, *, is_default: bool = False) -> CatalogEntry:
    return CatalogEntry(
        model=model,
        version=version,
        signature=signature,
        platform="onnxruntime_onnx",
        max_batch_size=8,
        is_default=is_default,
        announced_at=NOW,
    )


CATALOG = (
    CatalogSnapshot()
    .with_entry(entry("vector", "1", VECTOR, is_default=True))
    .with_entry(entry("vector", "2", VECTOR))
    .with_entry(entry("digits", "2", DIGITS))
)


def record(
    value: bytes | Any, *headers: tuple[str, str | bytes], offset: int = 42, written: datetime | None = WRITTEN
) -> Record:
    """A record as fetched. A value that is not bytes is written as JSON; `written` None is a record without a time."""
    raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    encoded = tuple((name, text.encode() if isinstance(text, str) else text) for name, text in headers)
    time_ms = -1 if written is None else int(written.timestamp() * 1000)
    return Record(TOPICS.requests, 3, offset, 1, None, raw, encoded, time_ms)


def routed(asked: Record, *, routes: Mapping[str, Route] = NO_ROUTES, **limits: Any) -> Routed | Refused | Dead:
    return route(asked, CATALOG, routes, TOPICS, Limits(**limits), NOW, no_limit)
