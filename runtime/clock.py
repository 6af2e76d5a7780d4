"""The one clock of job times. Durations are measured with `time.monotonic` instead."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

Clock = Callable[[], datetime]

now_utc: Final[Clock] = partial(datetime.now, UTC)


def unix_s(moment: datetime) -> int:
    """In whole seconds, as OpenAI's documents tell times."""
    return int(moment.timestamp())


def unix_s_if_any(moment: datetime | None) -> int | None:
    return None if moment is None else unix_s(moment)
