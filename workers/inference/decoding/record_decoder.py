"""From fetched records to jobs that may run, or to what becomes of them instead. Pure."""

from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from producers.holds import Holds
from runtime.logs import get_logger
from schemas.claims import Claim
from schemas.errors import Canceled, DeadlineExceeded, InvalidInput, PenstockError, TransientFailure, Undecodable
from schemas.holds import Hold, ended_by
from schemas.jobs import Payload
from schemas.oip import InferRequest, parse_request
from schemas.records import LaneJob, read_lane_record
from schemas.routes import Choice
from schemas.signature import Signature
from schemas.topics import Lane
from stores.protocols import JobKey
from workers.consuming.protocols import Record
from workers.inference.batching.compatibility import PLAIN, BatchCompatibility
from workers.inference.batching.pending_job import PendingJob
from workers.inference.decoding.memory import memory_bytes
from workers.inference.decoding.tokenizer import LazyTokenizer
from workers.moves import MovedTo, nothing_moves

log = get_logger(__name__)

# Chunks of records above this are to be read in a thread, so that they do not hold up the loop's heartbeats.
INLINE_BYTES: Final = 256 * 1024
INLINE_TEXT_BYTES: Final = 8 * 1024  # tokenizers get through a few megabytes a second


class Ended(NamedTuple):
    """A job that cannot run: it ends with `error`, or is tried again later where that is retryable."""

    record: Record
    job: LaneJob
    error: PenstockError


class Moving(NamedTuple):
    """A job that does not run here now: another version runs it, since this one was taken back; or it is put aside,
    since its tenant is held."""

    record: Record
    job: LaneJob
    to: Choice | Hold


class UndecodableRecord(NamedTuple):
    """A record that is no job at all."""

    record: Record
    error: Undecodable


# Why a copy is not to run here; None where it may.
RefusesCopy = Callable[[LaneJob], PenstockError | None]


def nothing_refused(_: LaneJob) -> None:
    """Every copy may run."""


class Claimed(NamedTuple):
    """A job whose input lies in the blob store, and is to be fetched before it can be read."""

    record: Record
    job: LaneJob
    claim: Claim


Decoded = PendingJob | Claimed | Ended | Moving | UndecodableRecord


class _Parsed(NamedTuple):
    """A job whose inputs have been read. Texts are texts until they are tokens."""

    record: Record
    job: LaneJob
    request: InferRequest
    value: bytes


_Read = _Parsed | Claimed | Ended | Moving | UndecodableRecord


class RecordDecoder:
    """Reads the records of one lane. `canceled` has the jobs that clients have taken back, `moves` says which go to
    another version, `refuses` which copies are not to run, `holds` what operators have wait or end.

    A job that would take more than `most_bytes` of memory is refused: it could never be held.
    """

    def __init__(
        self,
        lane: Lane,
        signature: Signature,
        canceled: Container[JobKey],
        rules: BatchCompatibility = PLAIN,
        tokenizer: LazyTokenizer | None = None,
        *,
        most_bytes: int | None = None,
        moves: MovedTo = nothing_moves,
        refuses: RefusesCopy = nothing_refused,
        holds: Holds | None = None,
    ) -> None:
        self._lane = lane
        self._signature = signature
        self._canceled = canceled
        self._rules = rules
        self._tokenizer = tokenizer
        self._most_bytes = most_bytes
        self._moves = moves
        self._refuses = refuses
        self._holds = holds or Holds()

    @property
    def inline_bytes(self) -> int:
        """How many bytes of records may be read within the loop's thread."""
        if self._tokenizer is None:
            return INLINE_BYTES
        return INLINE_TEXT_BYTES if self._tokenizer.loaded else 0

    def read_all(self, records: Sequence[Record], now: datetime) -> list[Decoded]:
        """What each of the records is, in order; jobs are measured, and their texts are tokens.

        Raises nothing that a record may cause: it would come again, and end the next worker as well. So what a step
        raises is what becomes of its own record.
        """
        parsed = [self._parse(record, now) for record in records]
        if self._tokenizer is not None:
            parsed = self._with_tokens(parsed, self._tokenizer)
        return [self._measure(each) if isinstance(each, _Parsed) else each for each in parsed]

    def read_fetched(self, claimed: Claimed, value: bytes, now: datetime) -> Decoded:
        """The job with its input, which has been fetched. Its payload stays the claim: whoever has it tried again, or
        run elsewhere, sends that. Raises nothing that an input may cause, as `read_all`."""
        record, job, _ = claimed
        try:
            payload = msgspec.structs.replace(job.payload, value=value, claim=None)
            parsed: _Read = self._parse_job(record, job, payload, now)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of Rust code is no Exception
            return _ended(record, job, error)
        if isinstance(parsed, _Parsed) and self._tokenizer is not None:
            (parsed,) = self._with_tokens([parsed], self._tokenizer)
        return self._measure(parsed) if isinstance(parsed, _Parsed) else parsed

    def ended(self, key: JobKey, expires_at: datetime, now: datetime) -> PenstockError | None:
        """Why the job must not cost anything any more, or None."""
        if expires_at <= now:
            return DeadlineExceeded("the deadline passed before the job was done")
        if key in self._canceled:
            return Canceled("the job was canceled")
        return None

    def not_run(self, job: LaneJob, key: JobKey, now: datetime) -> PenstockError | Choice | Hold | None:
        """Why the job is not to begin here any more, or None: it is over, or it leaves."""
        return self.ended(key, job.expires_at, now) or self.leaves(job)

    def leaves(self, job: LaneJob) -> PenstockError | Choice | Hold | None:
        """Why a job that waits does not stay: a hold ends it, it is put aside, or another version runs it. A copy of
        one is not put aside: it ends."""
        holds = self._holds.now
        if (hold := holds.ending(job)) is not None:
            return ended_by(hold)
        return holds.parking(job) or (self._moves(job) if job.shadow_of is None else self._refuses(job))

    def _parse(self, record: Record, now: datetime) -> _Read:
        job: LaneJob | None = None
        try:
            job = read_lane_record(record.headers, record.value)
            return self._parse_job(record, job, job.payload, now)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of Rust code is no Exception
            return _undecodable(record, error) if job is None else _ended(record, job, error)

    def _parse_job(
        self, record: Record, job: LaneJob, payload: Payload, now: datetime
    ) -> _Parsed | Claimed | Ended | Moving:
        why = self.not_run(job, JobKey(job.tenant, job.id), now)
        if why is not None:
            return Ended(record, job, why) if isinstance(why, PenstockError) else Moving(record, job, why)
        if (job.model, job.version) != (self._lane.model, self._lane.version):
            raise InvalidInput(
                f"the record is for {job.model}/{job.version}, but lies in the lane of "
                f"{self._lane.model}/{self._lane.version}",
                param="model",
            )
        if payload.claim is not None:
            self._check_size(payload.claim.size)
            return Claimed(record, job, payload.claim)
        return _Parsed(record, job, parse_request(self._signature, payload), payload.value)

    def _with_tokens(self, parsed: Sequence[_Read], tokenizer: LazyTokenizer) -> list[_Read]:
        jobs = [each for each in parsed if isinstance(each, _Parsed)]
        tokenized = iter(_tokenized(jobs, tokenizer) if jobs else ())
        return [next(tokenized) if isinstance(each, _Parsed) else each for each in parsed]

    def _measure(self, parsed: _Parsed) -> Decoded:
        try:
            return self._measured(*parsed)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of Rust code is no Exception
            return _ended(parsed.record, parsed.job, error)

    def _measured(self, record: Record, job: LaneJob, request: InferRequest, value: bytes) -> PendingJob:
        came = record.value or b"" if job.payload.claim is None else value
        held_bytes = memory_bytes(came, request.inputs, self._rules.padding)
        if job.shadow_of is not None:  # whose input and answer were cut out of the record
            held_bytes += len(record.value or b"")
        self._check_size(held_bytes)
        measure = self._rules.measure(request)
        if request.parameters:  # others than the micro-batch's are of no use, and may be large
            agreed = self._rules.agreed(request.parameters)
            request = msgspec.structs.replace(request, parameters=agreed)
        return PendingJob(record, job, request, *measure, held_bytes)

    def _check_size(self, held_bytes: int) -> None:
        """Raises `InvalidInput`."""
        if self._most_bytes is not None and held_bytes > self._most_bytes:
            raise InvalidInput(
                f"the inputs take {held_bytes} bytes of memory to run; the limit is {self._most_bytes}: send fewer "
                "rows in one request, or long and short ones apart",
                param="inputs",
            )


def _undecodable(record: Record, error: BaseException) -> UndecodableRecord:
    if isinstance(error, Undecodable):
        return UndecodableRecord(record, error)
    _log(record, None, error)
    return UndecodableRecord(record, Undecodable(f"the record cannot be read ({type(error).__name__})"))


def _ended(record: Record, job: LaneJob, error: BaseException) -> Ended:
    if not isinstance(error, PenstockError):
        _log(record, job.id, error)
    return Ended(record, job, _why(error))


def _log(record: Record, job_id: str | None, error: BaseException) -> None:
    with suppress(Exception):  # showing what was met must not break on it as well
        log.error("a record broke the decoder", topic=record.topic, offset=record.offset, job=job_id, exc_info=error)


def _why(error: BaseException) -> PenstockError:
    if isinstance(error, PenstockError):
        return error
    if isinstance(error, MemoryError):  # of the process at this moment: the input itself is not too large
        return TransientFailure("the worker had no memory to read the input")
    return InvalidInput(f"the input cannot be read ({type(error).__name__})")


def _tokenized(jobs: Sequence[_Parsed], tokenizer: LazyTokenizer) -> list[_Parsed | Ended]:
    """All are one call of the tokenizer, unless one of them breaks it: then each is a call of its own. What has
    nothing to do with the texts, such as a file that cannot be read, is the same for all of them."""
    try:
        tokens = tokenizer.encode_each([job.request.inputs[tokenizer.input] for job in jobs])
        return [_with_inputs(job, tokenizer.input, made) for job, made in zip(jobs, tokens, strict=True)]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of Rust code is no Exception
        if len(jobs) == 1 or (isinstance(error, PenstockError) and error.retryable):
            return [_ended(job.record, job.job, error) for job in jobs]
        return [end for job in jobs for end in _tokenized([job], tokenizer)]


def _with_inputs(parsed: _Parsed, text_input: str, tokens: Any) -> _Parsed:
    others = {name: array for name, array in parsed.request.inputs.items() if name != text_input}
    return parsed._replace(request=msgspec.structs.replace(parsed.request, inputs={**tokens, **others}))
