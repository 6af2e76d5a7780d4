"""A dead letter: the record as it was, where it stood, and why it is here. Pure."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from schemas.dead_letters import APACHES, CODE_HEADER
from schemas.errors import RequestError, Undecodable
from schemas.jobs import is_job_id
from schemas.records import Headers


class Place(NamedTuple):
    """Where a record stands; written `topic:partition:offset`, it is the id of a dead letter."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


def parse_place(text: str) -> Place:
    """Raises `RequestError` for what is no `topic:partition:offset`."""
    topic, partition, offset = [*text.rsplit(":", 2), "", ""][:3]
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise RequestError(f"{text!r} is no id of a dead letter: topic:partition:offset")
    return Place(topic, int(partition), int(offset))


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """`at` is when it was buried; `value` may have been left out, `size_bytes` is what it has all the same."""

    place: Place
    at: datetime
    key: bytes | None
    value: bytes | None
    size_bytes: int
    headers: tuple[tuple[str, bytes], ...]

    @property
    def origin(self) -> Place | None:
        """Where the record stood; None for a record that does not say."""
        topic, partition, offset = (self._text(f"{APACHES}{name}") for name in ("topic", "partition", "offset"))
        if not (topic and partition and partition.isdecimal() and offset and offset.isdecimal()):
            return None
        return Place(topic, int(partition), int(offset))

    @property
    def group(self) -> str:
        """Who gave the record up."""
        return self._text(f"{APACHES}group") or ""

    @property
    def deliveries(self) -> int:
        count = self._text(f"{APACHES}delivery.count") or ""
        return int(count) if count.isdecimal() else 1

    @property
    def message(self) -> str:
        return self._text(f"{APACHES}message") or ""

    @property
    def code(self) -> str:
        return self._text(CODE_HEADER) or Undecodable.code

    @property
    def ended(self) -> bool:
        """Whether it was a job, and has ended: with a failed result, under its own id, for good."""
        return self.code != Undecodable.code

    @property
    def job_id(self) -> str | None:
        """The job's own id, or the one that it would have got."""
        given = self._text("ce_id")
        if given and is_job_id(given):
            return given
        origin = self.origin
        return f"{origin.topic}-{origin.partition}-{origin.offset}" if origin and ".requests." in origin.topic else None

    @property
    def model(self) -> str | None:
        return self._text("ce_model") or self._text("model")

    @property
    def version(self) -> str | None:
        return self._text("ce_modelversion") or self._text("version")

    @property
    def original_headers(self) -> Headers:
        """Those that the record had before it was buried."""
        return [(name, raw) for name, raw in self.headers if not (name.startswith(APACHES) or name == CODE_HEADER)]

    @property
    def lacks_payload(self) -> bool:
        """Whether the record could not be kept, so that the letter only says where it stood."""
        return self.key is None and self.size_bytes == 0 and not self.original_headers

    def without_value(self) -> "Letter":
        return msgspec.structs.replace(self, value=None)

    def _text(self, name: str) -> str | None:
        for header, raw in reversed(self.headers):
            if header == name:
                return raw.decode("utf-8", "replace")
        return None


def read_letter(record: Any) -> Letter:
    """A letter from aiokafka's record."""
    return Letter(
        place=Place(record.topic, record.partition, record.offset),
        at=datetime.fromtimestamp(max(0, record.timestamp) / 1000, UTC),
        key=record.key,
        value=record.value,
        size_bytes=len(record.value or b""),
        headers=tuple((name, raw or b"") for name, raw in record.headers),
    )
