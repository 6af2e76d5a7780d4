"""What stands in Redis: two channels, one stream, a counter a job, and what replicas report, all under the prefix that
the topics share."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from schemas.jobs import Terminal
from stores.protocols import JobKey

LONGEST_DEADLINE_S: Final = 7 * 24 * 3600.0  # no job is given longer; older cancellations concern nobody


class Names(msgspec.Struct, frozen=True):
    """Channels and keys of one installation; several may share a Redis."""

    prefix: str

    @property
    def done(self) -> str:
        """Channel: a JSON array of [tenant, id] pairs a message."""
        return f"{self.prefix}.done.v1"

    def answers(self, instance: str) -> str:
        """Channel of one gateway: an array of terminal records a message, in MessagePack."""
        return f"{self.prefix}.done.v1.{instance}"

    @property
    def running(self) -> str:
        """Channel: {"keys": [[tenant, id], ...], "started_at": "..."}."""
        return f"{self.prefix}.running.v1"

    @property
    def canceled(self) -> str:
        """Stream: one entry a cancellation, with the fields tenant, id and expires_at."""
        return f"{self.prefix}.canceled.v1"

    @property
    def starts(self) -> str:
        """What the keys of counters begin with: `<tenant>/<id>` follows. A counter is how often its job was started."""
        return f"{self.prefix}.starts.v1:"

    @property
    def replicas(self) -> str:
        """Set: the gateways and routers that report which routes they have, each as `<role>/<name>`. The key of that
        name, `:` and the set's member holds what one has, as JSON, for a short while."""
        return f"{self.prefix}.replicas.v1"


class Running(msgspec.Struct, frozen=True):
    keys: list[JobKey]
    started_at: datetime


class Cancel(msgspec.Struct, frozen=True):
    tenant: str
    id: str
    expires_at: datetime

    @property
    def key(self) -> JobKey:
        return JobKey(self.tenant, self.id)


_encoder = msgspec.json.Encoder()
_keys_decoder = msgspec.json.Decoder(list[JobKey])
_ends_encoder = msgspec.msgpack.Encoder()
_ends_decoder = msgspec.msgpack.Decoder(list[Terminal])
_running_decoder = msgspec.json.Decoder(Running)


def encode_names(keys: Sequence[JobKey]) -> bytes:
    """The ends of the jobs' counters' keys, as a list in MessagePack: one argument to encode instead of many."""
    return msgspec.msgpack.encode([f"{tenant}/{job_id}" for tenant, job_id in keys])


def encode_done(keys: Sequence[JobKey]) -> bytes:
    return _encoder.encode(list(keys))


def decode_done(data: bytes) -> Sequence[JobKey]:
    """Raises `ValueError`, as the others do, for what we did not write."""
    return _keys_decoder.decode(data)


def encode_ends(ends: Sequence[Terminal]) -> bytes:
    return _ends_encoder.encode(ends)


def decode_ends(data: bytes) -> Sequence[Terminal]:
    return _ends_decoder.decode(data)


def encode_running(keys: Sequence[JobKey], started_at: datetime) -> bytes:
    return _encoder.encode(Running(list(keys), started_at))


def decode_running(data: bytes) -> tuple[Sequence[JobKey], datetime]:
    running = _running_decoder.decode(data)
    return running.keys, running.started_at


def encode_cancel(key: JobKey, expires_at: datetime) -> Sequence[bytes]:
    """The fields of an entry, each a name and a value."""
    fields = ("tenant", key.tenant, "id", key.id, "expires_at", expires_at.isoformat())
    return [text.encode() for text in fields]


def decode_cancel(fields: Mapping[bytes, bytes]) -> Cancel:
    return msgspec.convert({name.decode(): value.decode() for name, value in fields.items()}, Cancel)
