"""What a client should know of a job that waits."""

from typing import NamedTuple

from schemas.holds import Hold


class Notice(NamedTuple):
    """In words, and the hold that it waits for, if it is one."""

    text: str
    held: Hold | None = None
