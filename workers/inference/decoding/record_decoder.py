"""From a fetched record to a job that may run, or to what becomes of it instead. Pure."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from runtime.logs import get_logger
from schemas.errors import (
    Canceled,
    DeadlineExceeded,
    InvalidInput,
    JobError,
    PenstockError,
    RequestError,
    Undecodable,
)
from schemas.oip import parse_request
from schemas.records import LaneJob, read_lane_record
from schemas.signature import Signature
from schemas.tensors import Array
from schemas.topics import Lane
from stores.seams import JobKey
from workers.consuming.seams import Record
from workers.inference.batching.compatibility import PLAIN, BatchCompatibility
from workers.inference.batching.pending_job import PendingJob
from workers.inference.decoding.lazy_tokenizer import LazyTokenizer

log = get_logger(__name__)

# Chunks of records above this are to be read in a thread, so that they do not hold up the loop's heartbeats.
INLINE_BYTES: Final = 256 * 1024
INLINE_TEXT_BYTES: Final = 8 * 1024  # tokenizers get through a few megabytes a second


class Ended(NamedTuple):
    """A job that ends without running."""

    record: Record
    job: LaneJob
    error: PenstockError


class Dead(NamedTuple):
    """A record that is no job at all."""

    record: Record
    error: Undecodable


class RecordDecoder:
    """Reads the records of one lane. `canceled` holds the jobs that clients have taken back.

    Nothing that a record holds makes it raise: the record would come again, and end the next worker as well.
    """

    def __init__(
        self,
        lane: Lane,
        signature: Signature,
        canceled: Container[JobKey],
        rules: BatchCompatibility = PLAIN,
        texts: LazyTokenizer | None = None,
    ) -> None:
        self._lane = lane
        self._signature = signature
        self._canceled = canceled
        self._rules = rules
        self._texts = texts

    @property
    def inline_bytes(self) -> int:
        """How many bytes of records may be read within the loop's thread."""
        if self._texts is None:
            return INLINE_BYTES
        return INLINE_TEXT_BYTES if self._texts.loaded else 0

    def read_all(self, records: Sequence[Record], now: datetime) -> list[PendingJob | Ended | Dead]:
        """What each of the records is, in order. Items are ready to be collected: measured, their texts tokens."""
        read = [self.read(record, now) for record in records]
        if self._texts is None:
            return read
        ready = iter(self._with_tokens([each for each in read if isinstance(each, PendingJob)], self._texts))
        return [next(ready) if isinstance(each, PendingJob) else each for each in read]

    def read(self, record: Record, now: datetime) -> PendingJob | Ended | Dead:
        """What one record is, with its texts as they came."""
        try:
            job = read_lane_record(record.headers, record.value)
        except Undecodable as error:
            return Dead(record, error)
        except Exception as error:
            log.exception("a record broke the decoder", topic=record.topic, offset=record.offset)
            return Dead(record, Undecodable(f"the record cannot be read ({type(error).__name__})"))
        ended = self.ended(job, now)
        if ended is not None:
            return Ended(record, job, ended)
        try:
            return self._item(record, job)
        except RequestError as error:
            return Ended(record, job, error)
        except Exception as error:
            log.exception("an input broke the decoder", job=job.id, topic=record.topic, offset=record.offset)
            return Ended(record, job, InvalidInput(f"the input cannot be read ({type(error).__name__})"))

    def ended(self, job: LaneJob, now: datetime) -> PenstockError | None:
        """Why the job must not cost anything any more, or None."""
        if job.expires_at <= now:
            return DeadlineExceeded("the deadline passed before the job was done")
        if JobKey(job.tenant, job.id) in self._canceled:
            return Canceled("the job was canceled")
        return None

    def _with_tokens(self, items: Sequence[PendingJob], texts: LazyTokenizer) -> list[PendingJob | Ended]:
        if not items:
            return []
        try:
            tokens = texts.encode([item.request.inputs[texts.input] for item in items])
        # A panic of Rust code is a BaseException; on one text it would end worker after worker.
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            if len(items) > 1:
                return [end for item in items for end in self._with_tokens([item], texts)]
            return [Ended(items[0].record, items[0].job, _why_no_tokens(error))]
        return [self._measured(item, made, texts.input) for item, made in zip(items, tokens, strict=True)]

    def _measured(self, item: PendingJob, tokens: Mapping[str, Array], text_input: str) -> PendingJob:
        others = {name: array for name, array in item.request.inputs.items() if name != text_input}
        request = msgspec.structs.replace(item.request, inputs={**tokens, **others})
        return PendingJob(item.record, item.job, request, *self._rules.measure(request))

    def _item(self, record: Record, job: LaneJob) -> PendingJob:
        self._check_lane(job)
        request = parse_request(self._signature, job.payload)
        if self._texts is not None:  # to be measured when it has its tokens
            return PendingJob(record, job, request)
        return PendingJob(record, job, request, *self._rules.measure(request))

    def _check_lane(self, job: LaneJob) -> None:
        if (job.model, job.version) != (self._lane.model, self._lane.version):
            raise InvalidInput(
                f"the record is for {job.model}/{job.version}, but lies in the lane of "
                f"{self._lane.model}/{self._lane.version}",
                param="model",
            )


def _why_no_tokens(error: BaseException) -> PenstockError:
    if isinstance(error, RequestError | JobError):
        return error
    log.warning("a text broke the tokenizer", exc_info=error)
    return InvalidInput(f"the text cannot be read ({type(error).__name__})")
