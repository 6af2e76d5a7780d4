"""What workers know of model versions that they do not serve. One compacted record a worker, while there is any.

A topic of its own: gateways and routers of earlier releases, which follow the catalog, need not make anything of it.
"""

from datetime import datetime
from enum import StrEnum

import msgspec


class NotServed(StrEnum):
    """Why a worker does not serve a version of its repository."""

    LOADING = "loading"  # not yet
    REFUSED = "refused"  # it cannot be loaded, or answers wrongly
    UNLOADED = "unloaded"  # an operator wants it so

    @classmethod
    def _missing_(cls, _: object) -> "NotServed":
        """What a newer worker says is no reason to pass over all that it says; its words come with it."""
        return cls.REFUSED


class VersionReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """`reason` is for clients: one line, without anything of the worker's inside."""

    state: NotServed
    reason: str = ""


class WorkerReport(msgspec.Struct, frozen=True):
    """`versions` by name: `<model>/<version>`, or `<model>` for all of it. `at` tells one report from the next."""

    at: datetime
    versions: dict[str, VersionReport]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(WorkerReport)


def encode_report(report: WorkerReport) -> bytes:
    return _encoder.encode(report)


def decode_report(value: bytes) -> WorkerReport:
    """Raises `msgspec.ValidationError` or `msgspec.DecodeError` for anything else."""
    return _decoder.decode(value)
