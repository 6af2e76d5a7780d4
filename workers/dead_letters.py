"""A record that cannot be worked on, as it goes to its dead-letter topic: as it was, and why it is there."""

from typing import Final

from schemas.dead_letters import APACHES, CODE_HEADER
from schemas.errors import PenstockError
from schemas.records import Headers, OutRecord
from schemas.topics import Topics
from workers.consuming.protocols import Record

# The reason is for a person to read, and must leave the record small enough to be published.
MAX_MESSAGE_CHARACTERS: Final = 2000


def dead_letter(record: Record, group: str, error: PenstockError, *, deliveries: int = 1) -> OutRecord:
    """The dead letter of `record`, which `group` gave up after `deliveries` attempts: key, value and headers kept."""
    return OutRecord(
        Topics.dead_letter(record.topic),
        record.key,
        record.value,
        [*record.headers, *_why(record, group, error, deliveries)],
    )


def dead_letter_without_payload(record: Record, group: str, error: PenstockError, *, deliveries: int = 1) -> OutRecord:
    """What is left to say of a record that is too large even for its dead-letter topic.

    A producer's compressed batch passes the broker's limit by its compressed size, and may unpack to far more.
    The record itself stays where the headers say until its topic's retention ends.
    """
    return OutRecord(Topics.dead_letter(record.topic), None, None, _why(record, group, error, deliveries))


def _why(record: Record, group: str, error: PenstockError, deliveries: int) -> Headers:
    facts = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "group": group,
        "delivery.count": str(deliveries),
        "message": error.message[:MAX_MESSAGE_CHARACTERS],
    }
    # A message may quote what it refuses, lone surrogates and all.
    why = [(f"{APACHES}{name}", fact.encode("utf-8", "backslashreplace")) for name, fact in facts.items()]
    return [*why, (CODE_HEADER, error.code.encode())]
