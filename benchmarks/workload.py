"""The jobs of a measurement: real rows, as records of a lane and as stacked micro-batches."""

import re
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import orjson

from runtime.clock import now_utc
from schemas.jobs import OCTET_STREAM, Payload, new_job_id
from schemas.names import DEFAULT_TENANT
from schemas.records import LaneJob, OutRecord, lane_record
from schemas.tensors import Array, to_raw
from schemas.topics import Lane, LaneClass

ROOT = Path(__file__).parents[1]
HELD_OUT = ROOT / "examples" / "digits" / "held_out.npz"


class Rows(Protocol):
    """Where rows come from: any number of them, the same each time."""

    def __call__(self, rows: int) -> dict[str, Array]: ...


@cache
def _images() -> Array:
    with np.load(HELD_OUT) as held_out:
        images: Array = held_out["images"]
    return images.astype(np.float32)


def digits(rows: int) -> dict[str, Array]:
    """Held-out handwritten digits, over and over."""
    images = _images()
    return {"image": images[np.arange(rows) % len(images)]}


@cache
def _sentences() -> list[str]:
    """The sentences of this project's own documentation: real English, from 3 to some 60 words long."""
    text = " ".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])
    prose = re.sub(r"```.*?```", " ", text, flags=re.DOTALL)
    sentences = re.split(r"(?<=[.:;])\s+", re.sub(r"\s+", " ", prose))
    return [sentence for sentence in sentences if 3 <= len(sentence.split()) <= 60]


def sentences(rows: int) -> dict[str, Array]:
    known = _sentences()
    texts = np.empty(rows, dtype=object)
    texts[:] = [known[i % len(known)].encode() for i in range(rows)]
    return {"text": texts}


LONG_EVERY = 15
LONG_WORDS = 220


def mixed_texts(rows: int) -> dict[str, Array]:
    """Mostly short sentences, and now and then a page: as questions and documents come to a model of embeddings."""
    short = [sentence for sentence in _sentences() if len(sentence.split()) <= 12]
    words = " ".join(_sentences()).split()
    texts = np.empty(rows, dtype=object)
    for row in range(rows):
        start = row * 17 % (len(words) - LONG_WORDS)
        long = row % LONG_EVERY == LONG_EVERY - 1
        texts[row] = (" ".join(words[start : start + LONG_WORDS]) if long else short[row % len(short)]).encode()
    return {"text": texts}


def as_json(inputs: dict[str, Array]) -> Payload:
    """An OIP v2 request in JSON."""
    return Payload(orjson.dumps({"inputs": [_described(name, array) for name, array in inputs.items()]}))


def _described(name: str, array: Array) -> dict[str, Any]:
    if array.dtype == object:
        return {"name": name, "shape": array.shape, "datatype": "BYTES", "data": [each.decode() for each in array]}
    return {"name": name, "shape": array.shape, "datatype": "FP32", "data": array.ravel().tolist()}


def as_binary(inputs: dict[str, Array]) -> Payload:
    """An OIP v2 request with raw FP32 tensors."""
    raws = {name: to_raw(array) for name, array in inputs.items()}
    head = orjson.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": array.shape,
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": len(raws[name])},
                }
                for name, array in inputs.items()
            ]
        }
    )
    return Payload(head + b"".join(raws.values()), OCTET_STREAM, len(head))


class Workload(msgspec.Struct, frozen=True):
    """`records` records of `rows_per_record` rows each for one model version."""

    model: str
    version: str
    source: Rows
    records: int
    rows_per_record: int = 1
    binary: bool = False

    @property
    def rows(self) -> int:
        return self.records * self.rows_per_record

    def shortened(self, factor: int) -> "Workload":
        return msgspec.structs.replace(self, records=max(1, self.records // factor))

    def stacked(self, batch_rows: int) -> list[dict[str, Array]]:
        """The rows in micro-batches of `batch_rows`, in order."""
        everything = self.source(self.rows)
        return [
            {name: array[start : start + batch_rows] for name, array in everything.items()}
            for start in range(0, self.rows, batch_rows)
        ]

    @property
    def lane(self) -> Lane:
        return Lane(self.model, self.version, LaneClass.LIVE)

    def lane_records(self, topic: str) -> Sequence[OutRecord]:
        encode = as_binary if self.binary else as_json
        return lane_records(topic, self.lane, [encode(inputs) for inputs in self.stacked(self.rows_per_record)])


def lane_records(topic: str, lane: Lane, payloads: Sequence[Payload], *, row_errors: bool = False) -> list[OutRecord]:
    """A new job of the lane for each payload, with an hour to its deadline."""
    now = now_utc()
    return [
        lane_record(
            topic,
            LaneJob(
                id=new_job_id(),
                tenant=DEFAULT_TENANT,
                model=lane.model,
                version=lane.version,
                lane=lane.cls,
                created_at=now,
                expires_at=now + timedelta(hours=1),
                payload=payload,
                row_errors=row_errors,
            ),
            "/benchmarks",
        )
        for payload in payloads
    ]


WORKLOADS = {
    "digits, linear, a row a job": Workload("digits", "1", digits, 40_000),
    "digits, linear, 64 rows a job": Workload("digits", "1", digits, 4_000, 64, binary=True),
    "digits, convolutional, a row a job": Workload("digits", "2", digits, 30_000),
    "digits, convolutional, 64 rows a job": Workload("digits", "2", digits, 2_000, 64, binary=True),
    "transformer, a text a job": Workload("minilm", "1", sentences, 1_500),
}
