"""Copies of jobs for a shadow version: their records, and what comparing found, as it travels. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from schemas.errors import Undecodable
from schemas.jobs import is_job_id
from schemas.names import is_model_name, is_version
from schemas.records import LaneJob, ShadowOf
from schemas.signature import Datatype, TensorSpec
from schemas.stats import Count, Moment
from schemas.tensors import Array, datatype_of, from_raw, to_raw
from schemas.topics import LaneClass

# A copy that has waited for longer is of no use: what is compared is what versions answer now.
COPY_LIFE_S: Final = 120
MAX_LABEL: Final = 200  # characters of a label that is told

Outputs = Mapping[str, Array]
Name = Annotated[str, Meta(min_length=1, max_length=300)]


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    data: bytes


_packed: Final = msgspec.msgpack.Decoder(tuple[_Packed, ...])


def pack_outputs(outputs: Outputs) -> bytes:
    """Raises `KeyError` for an array of a type that the protocol has no name for."""
    return msgspec.msgpack.encode(
        [_Packed(name, datatype_of(array), array.shape, to_raw(array)) for name, array in outputs.items()]
    )


def unpack_outputs(data: bytes) -> dict[str, Array]:
    """Raises `ValueError` or `RequestError` for what is none."""
    return {
        each.name: from_raw(
            TensorSpec(each.name, each.datatype, each.shape, allow_nan=True),
            memoryview(each.data),
            each.shape,
            "outputs",
        )
        for each in _packed.decode(data)
    }


def copy_of(job: LaneJob, version: str, outputs: bytes, now: datetime) -> LaneJob:
    """The copy of a job that this version is to run; nothing of the job is in it by which it could end or move."""
    return LaneJob(
        tenant=job.tenant,
        id=job.id,
        model=job.model,
        version=version,
        lane=LaneClass.BULK,
        created_at=now,
        expires_at=now + timedelta(seconds=COPY_LIFE_S),
        answer=job.answer,
        payload=job.payload,
        shadow_of=ShadowOf(job.version, outputs),
    )


class Pair(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Whose jobs, and the versions that are compared: `version` is the shadow, `shadow_of` has answered the callers."""

    tenant: Name
    model: Name
    version: Name
    shadow_of: Name


class ShadowSums(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Copies by what came of them. `agreed` and `disagreed` were compared; `invalid` could not be; `dropped` did not
    run, and `copied` were made."""

    copied: Count = 0
    agreed: Count = 0
    disagreed: Count = 0
    invalid: Count = 0
    dropped: dict[str, Count] = {}

    @property
    def compared(self) -> int:
        return self.agreed + self.disagreed


class ShadowHour(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="hour", tag_field="kind"):
    """What one life of a worker has counted of a pair since the hour began: the newest such record takes the place of
    those before."""

    pair: Pair
    worker: Name
    hour: Moment
    sums: ShadowSums


class Disagreement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="disagreement", tag_field="kind"):
    """A job that the shadow answers otherwise. Its input stands with the job, as long as that is kept.

    `why` is `value`, `label`, `function`, `shape`, `missing`, or the code of the error by which the shadow has failed
    it. `output` is the one that differs most, `rows` of it do; `largest_difference` is None where it is no number.
    `answered` and `shadowed` are what both say of the first such row, shortened.
    """

    pair: Pair
    job: str
    at: Moment
    why: Annotated[str, Meta(max_length=64)]
    output: Annotated[str, Meta(max_length=300)] = ""
    rows: Count = 0
    largest_difference: float | None = None
    answered: Annotated[str, Meta(max_length=MAX_LABEL)] = ""
    shadowed: Annotated[str, Meta(max_length=MAX_LABEL)] = ""


ShadowFinding: TypeAlias = ShadowHour | Disagreement
_findings: Final = msgspec.json.Decoder(ShadowFinding)


def encode_finding(finding: ShadowFinding) -> bytes:
    return msgspec.json.encode(finding)


def decode_finding(value: bytes | None) -> ShadowFinding:
    """Raises `Undecodable`."""
    try:
        found: ShadowFinding = _findings.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable(f"the record tells nothing of shadows: {error}") from error
    pair = found.pair
    if not (is_model_name(pair.model) and is_version(pair.version) and is_version(pair.shadow_of)):
        raise Undecodable(f"not a model version: {pair.model}/{pair.version}, or {pair.shadow_of}"[:200])
    texts = [pair.tenant, *([found.worker, *found.sums.dropped] if isinstance(found, ShadowHour) else [])]
    if isinstance(found, Disagreement):
        if not is_job_id(found.job):
            raise Undecodable("job is not a job id")
        texts += [found.why, found.output, found.answered, found.shadowed]
    if any("\0" in text for text in texts):
        raise Undecodable("the record holds a NUL character, which no store can hold")
    return found
