"""The one clock of job times. Durations are measured with `time.monotonic` instead."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

Clock = Callable[[], datetime]

now_utc: Final[Clock] = partial(datetime.now, UTC)
