"""Keys, channels and messages. Every name begins with the installation's prefix, so that several share one Redis."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from stores.seams import JobKey


def done_channel(prefix: str) -> str:
    return f"{prefix}:done"


def running_channel(prefix: str) -> str:
    return f"{prefix}:running"


def canceled_stream(prefix: str) -> str:
    return f"{prefix}:canceled"


class Running(msgspec.Struct, array_like=True, frozen=True):
    keys: Sequence[JobKey]
    started_at: datetime


done_decoder = msgspec.json.Decoder(list[JobKey])
running_decoder = msgspec.json.Decoder(Running)
encode = msgspec.json.Encoder().encode
