"""What was done with a dead letter. Kafka deletes no single record: a mark says that somebody has seen to it. Pure."""

from datetime import datetime
from typing import Literal

import msgspec

from penstock.dlq.letter import Place, parse_place
from schemas.errors import RequestError
from schemas.records import OutRecord


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """`job_id` is the new job's, where a letter was replayed as one."""

    state: Literal["replayed", "dropped"]
    at: datetime
    job_id: str | None = None

    def __str__(self) -> str:
        return f"{self.state} as {self.job_id}" if self.job_id else self.state


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Mark)


def mark_record(topic: str, place: Place, mark: Mark) -> OutRecord:
    return OutRecord(topic, str(place).encode(), _encoder.encode(mark), [], partition=0)


def read_mark(key: bytes | None, value: bytes | None) -> tuple[Place, Mark] | None:
    """None for a record that is no mark."""
    try:
        return parse_place((key or b"").decode()), _decoder.decode(value or b"")
    except (ValueError, RequestError):  # msgspec's errors are ValueErrors too
        return None
