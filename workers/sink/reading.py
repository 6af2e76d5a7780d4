"""Reading the records of a batch, each for itself."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from runtime.logs import get_logger
from schemas.errors import Undecodable
from workers.consuming.protocols import Record
from workers.replacements import Replacement, burial

log = get_logger(__name__)

Read = TypeVar("Read")


def read_each(
    records: Sequence[Record], group: str, read: Callable[[Record], Read]
) -> tuple[list[Read], list[Replacement]]:
    """What the records say; and the dead letters, as of `group`, of those of which `read` raises."""
    found: list[Read] = []
    dead: list[Replacement] = []
    for record in records:
        try:
            found.append(read(record))
        except Undecodable as error:
            dead.append(burial(record, group, error))
        except Exception as error:  # a record that we fail over must not stand in the way of those behind it
            log.error("a record could not be read", topic=record.topic, offset=record.offset, exc_info=error)
            why = Undecodable(f"the sink failed to read the record: {type(error).__name__}")
            dead.append(burial(record, group, why))
    return found, dead
