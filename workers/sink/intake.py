"""From a record of the results topic to the end of a job, as the store can hold it. Pure."""

from datetime import UTC, datetime
from typing import Final

from schemas.errors import Undecodable
from schemas.jobs import Terminal
from schemas.records import read_terminal_record
from stores.storable import storable
from workers.consuming.seams import Record

_INT32: Final = 2**31


def read_end(record: Record) -> Terminal:
    """Raises `Undecodable` for a record that ends no job, or that the store could not hold."""
    terminal = read_terminal_record(record.headers, record.value)
    result = terminal.result
    names = (terminal.tenant, terminal.id, terminal.model, terminal.version, terminal.variant)
    if not storable(*names, result.content_type if result else None):
        raise Undecodable("a header holds a NUL character, which cannot be stored")
    if not (0 <= terminal.rows < _INT32 and 0 <= ((result and result.json_length) or 0) < _INT32):
        raise Undecodable("ce_rows or ce_jsonlength is out of range")
    for moment in (terminal.created_at, terminal.expires_at, terminal.completed_at, terminal.started_at):
        _check_moment(moment)
    return terminal


def _check_moment(moment: datetime | None) -> None:
    try:
        if moment is not None:
            moment.astimezone(UTC)
    except OverflowError as error:
        raise Undecodable("a time is beyond the calendar") from error
