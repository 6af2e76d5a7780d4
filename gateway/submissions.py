"""The road of a submit behind its body: which version, is the input right, is there room; then its row, its record.

Row and record are both written or neither is, whatever becomes of the client. Where the request waits for the end, and
gives no key by which another could ask for the job, there is only the record: the row comes with the end, or before
anybody is told the job's id (`write_down`). A caller is answered within `ANSWERED_WITHIN_S`, whatever becomes of
Postgres and Kafka; what was begun is brought to its end behind the answer.
"""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Final, NamedTuple

from gateway.lane_depth import LaneDepths
from gateway.large_inputs import LargeInputs
from gateway.leases import Lease, once_released
from gateway.repairs import Repairs
from gateway.serving import Serving
from gateway.settings import GatewaySettings
from gateway.submission import Submission
from gateway.submit_request import Options
from producers.protocols import Publisher
from producers.routes import Routes, count_passed_over
from runtime.backoff import delays_s
from runtime.health import Check
from runtime.logs import get_logger
from runtime.reading import INLINE_BYTES, InputReader
from schemas.catalog import CatalogEntry
from schemas.decoder import CheckedInput, check_common
from schemas.errors import (
    ModelNotFound,
    OutcomeUnknown,
    PenstockError,
    RequestError,
    StoreUnavailable,
)
from schemas.images import IMAGE_TYPES, too_many_rows
from schemas.inputs import bytes_to_parse, check_in_full, check_input
from schemas.job_webhooks import URL_OPTION
from schemas.jobs import Job, Payload, Status, check_retention
from schemas.records import OutRecord, lane_job, lane_record
from schemas.signature import Signature
from schemas.topics import Lane
from schemas.versions import Placed, place
from schemas.webhook_urls import parse_webhook_url
from stores.blobs import Blobs
from stores.protocols import Admission, Admissions, IdempotencyKey
from stores.retention import may_be_purged
from stores.validation import metadata_json

log = get_logger(__name__)

SOURCE: Final = "/penstock/gateway"
# From the end of the body to the answer, waiting for the result aside.
ANSWERED_WITHIN_S: Final = 20.0
# Of these, for a large input to be read, or to wait for others to be read before it.
READ_WITHIN_S: Final = 8.0
# A statement on its way to a database that hangs is carried out when that goes on, perhaps behind the withdrawal of
# what it writes. So much later it has been.
LATE_WRITE_S: Final = 5.0
# What a job without a row may have of metadata: it travels in the headers of its records.
MAX_TRAVELLING_METADATA_BYTES: Final = 1024
NO_KEYS: Final = (
    "webhooks are not available on this server, which has no key to keep secrets with: leave webhook out and poll"
)


class _Written(NamedTuple):
    """A job whose row is written: as it was to be, and as it was admitted, which is another for a key seen before."""

    lane: Lane
    job: Job
    admitted: Job
    since_s: float


class Submissions:
    """Accepts jobs one by one; their inserts and sends are grouped below, over all requests."""

    def __init__(
        self,
        settings: GatewaySettings,
        serving: Serving,
        routes: Routes,
        depths: LaneDepths,
        admissions: Admissions,
        publisher: Publisher,
        reader: InputReader,
        now: Callable[[], datetime],
        *,
        delays: Callable[[], Iterator[float]] = delays_s,
        answered_within_s: float = ANSWERED_WITHIN_S,
        late_write_s: float = LATE_WRITE_S,
        store_trouble: Check = lambda: None,
        blobs: Blobs | None = None,
    ) -> None:
        self._settings = settings
        self._large = LargeInputs(settings, blobs)
        self._lane_topic = lru_cache(maxsize=4096)(settings.topics.lane)
        self._serving = serving
        self._catalog = serving.catalog
        self._routes = routes
        self._depths = depths
        self._admissions = admissions
        self._publisher = publisher
        self._reader = reader
        self._now = now
        self._repairs = Repairs(delays)
        self._answered_within_s = answered_within_s
        self._late_write_s = late_write_s
        self._store_trouble = store_trouble

    async def submit(self, submission: Submission) -> Admission:
        """The job as admitted, durable in its lane and, if `submission.written`, in the store; or as admitted before.

        Raises what says that the submit cannot be: `RequestError`, `LaneFull`, and what `Admissions.insert` and
        `Publisher.publish` raise; the job is then withdrawn. A request that was answered before gets its answer again,
        also where today it would be refused. Of a caller that is canceled, what was begun is brought to its end.
        """
        try:
            async with asyncio.timeout(self._answered_within_s):
                return await self._admit(submission)
        except TimeoutError as error:
            raise OutcomeUnknown(f"neither row nor record within {self._answered_within_s:g} s") from error

    async def write_down(self, job: Job) -> Job:
        """Write the row of a job that has only been sent, so that others can be told of it. Returns the job as the
        store has it: it may have ended. Raises `StoreUnavailable`, also once it may have ended and been purged."""
        if may_be_purged(job, self._now()):
            raise StoreUnavailable("the job was sent so long ago that it may be kept no longer")
        return (await self._admissions.insert(job)).job

    async def drain(self, timeout_s: float | None = None) -> None:
        """Wait until nothing is half done, `timeout_s` seconds at most."""
        await self._repairs.drain(timeout_s)

    async def _admit(self, submission: Submission) -> Admission:
        try:
            placed = self._choose(submission)
            entry = placed.entry
            lane = submission.lane = Lane(entry.model, entry.version, submission.submit.options.lane)
            self._serving.refuse_held(submission.key.tenant, lane)
            checked = await self._check(entry.signature, submission.submit.payload)
            self._hold_travelling(submission, checked.payload)
            job = self._job(submission, lane, placed, checked)
            self._depths.admit(lane)
        except PenstockError as refusal:
            return await self._answered_before(submission, refusal)
        # A blob whose job has no row would be swept.
        without_row = self._needs_no_row(submission, job) and not self._large.beside(checked.payload)
        write = self._place_record if without_row else self._place
        return await write(submission, lane, job, checked.payload)

    def _choose(self, submission: Submission) -> Placed:
        """Raises `ModelNotFound`, which says what is known of it, or `Unavailable` while nobody knows of any model;
        `RequestError` for a sticky key that is none."""
        asked, (tenant, job_id) = submission.submit, submission.key
        route = self._routes.of.get(asked.model)
        try:
            placed = place(
                self._catalog.snapshot, route, asked.model, asked.version, tenant, job_id, submission.sticky_key
            )
        except ModelNotFound as error:
            raise self._serving.explained(error, asked.model, asked.version) from error
        if placed.passed_over is not None:
            count_passed_over(asked.model, placed.passed_over)
        return placed

    async def _answered_before(self, submission: Submission, refusal: PenstockError) -> Admission:
        """The job of an earlier request with the same key. Raises `refusal` where there was none."""
        if submission.idempotency is not None:
            job = await self._admissions.recall(submission.key.tenant, submission.idempotency)
            if job is not None:
                return Admission(job, replayed=True)
        raise refusal

    async def _check(self, signature: Signature, payload: Payload) -> CheckedInput:
        check = check_input
        if len(payload.value) <= INLINE_BYTES:
            checked = check_common(signature, payload)
            if checked is not None:
                return checked
            check = check_in_full
        return await self._reader.run(
            bytes_to_parse(signature, payload),
            partial(check, signature, payload, most_bytes=self._large.most_bytes),
            is_image=payload.content_type in IMAGE_TYPES,
        )

    def _hold_travelling(self, submission: Submission, payload: Payload) -> None:
        """Short values in JSON can be several times as large as tensors: say so in the caller's terms."""
        if len(payload.value) > self._large.most_bytes:
            form = "" if payload.json_length is None else " as tensors"
            raise too_many_rows(len(payload.value), self._large.most_bytes, form)
        if payload.value is not submission.submit.payload.value:
            submission.held.grow(len(payload.value))

    def _job(self, submission: Submission, lane: Lane, placed: Placed, checked: CheckedInput) -> Job:
        settings, options = self._settings, submission.submit.options
        entry, choice, _ = placed
        timeout_s = options.timeout_s
        if timeout_s is None:
            timeout_s = settings.gateway_default_timeout_s
        elif not 1 <= timeout_s <= settings.gateway_max_timeout_s:
            raise RequestError(
                f"timeout_s must be between 1 and {settings.gateway_max_timeout_s:g} seconds", param="timeout_s"
            )
        now = self._now()
        created_at = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as exact as the record carries it
        return Job(
            tenant=submission.key.tenant,
            id=submission.key.id,
            model=lane.model,
            version=lane.version,
            lane=lane.cls,
            status=Status.QUEUED,
            created_at=created_at,
            expires_at=created_at + timedelta(seconds=timeout_s),
            rows=checked.rows,
            answer=checked.answer,
            variant=choice.variant,
            revision=choice.revision,
            cohort=choice.cohort,
            rescue_to=choice.rescue_to,
            metadata=options.metadata,
            retention_s=self._retention_s(options, entry),
            row_errors=options.row_errors,
            webhook=self._webhook(options),
            webhook_events=options.webhook_events,
        )

    def _webhook(self, options: Options) -> str | None:
        if options.webhook is None:
            return None
        if self._settings.webhook_keys is None:
            raise RequestError(NO_KEYS, param=URL_OPTION)
        allow_private = self._settings.webhook_allow_private
        return parse_webhook_url(options.webhook, URL_OPTION, allow_private=allow_private).text

    def _retention_s(self, options: Options, entry: CatalogEntry) -> int | None:
        if options.retention_s is None:
            return entry.retention_s
        check_retention(options.retention_s, self._settings.retention_max_s)
        return options.retention_s

    def _needs_no_row(self, submission: Submission, job: Job) -> bool:
        """Whether its row can wait for the job's end: nobody else can ask for it, what the row says can travel, and
        the store is there to write it."""
        if submission.reply_to is None or submission.idempotency is not None or job.webhook is not None:
            return False
        if self._store_trouble() is not None:
            return False
        return not job.metadata or len(metadata_json(job.metadata)) <= MAX_TRAVELLING_METADATA_BYTES

    async def _place_record(self, submission: Submission, lane: Lane, job: Job, payload: Payload) -> Admission:
        """The job's record alone. Where it fails there is nothing to take back: nobody was told the job's id."""
        submission.written = False
        try:
            await self._publisher.publish(self._record(submission, lane, job, payload))
        except BaseException as error:
            if not isinstance(error, OutcomeUnknown | asyncio.CancelledError):
                self._depths.give_back(lane)
            raise
        return Admission(job, replayed=False)

    async def _place(self, submission: Submission, lane: Lane, job: Job, payload: Payload) -> Admission:
        """The job's row, then its record, then the key's release."""
        key = submission.idempotency
        since_s = asyncio.get_running_loop().time()
        try:
            admission = await (
                once_released(partial(self._admissions.insert, job, key)) if key else self._admissions.insert(job)
            )
        except BaseException as error:
            self._depths.give_back(lane)
            if isinstance(error, asyncio.CancelledError) or (
                isinstance(error, StoreUnavailable) and error.perhaps_done
            ):
                self._repairs.start(self._withdraw_twice(job, key))
            raise
        if admission.replayed:
            self._depths.give_back(lane)
            return admission
        if admission.job.version != job.version:
            payload = await self._made_for(admission.job, submission, payload)
        await self._deliver(submission, _Written(lane, job, admission.job, since_s), payload)
        return admission

    async def _made_for(self, admitted: Job, submission: Submission, payload: Payload) -> Payload:
        """What the version takes that the job was written down for, by a request that got no further; the route gives
        another today, whose columns or pixels may be others. Where that version is gone, what there is."""
        entry = self._catalog.snapshot.get(admitted.model, admitted.version)
        if entry is None:
            return payload
        try:
            checked = await self._check(entry.signature, submission.submit.payload)
            self._hold_travelling(submission, checked.payload)
        except PenstockError:
            return payload
        return checked.payload

    async def _deliver(self, submission: Submission, row: _Written, payload: Payload, *, again: bool = True) -> None:
        """The record of a job that has its row. `again`: if it is cut short, it is begun again beside the request."""
        key, job, admitted = submission.idempotency, row.job, row.admitted
        lane = row.lane if admitted is job else admitted.lane_of
        try:
            if key is None:
                await self._send(submission, lane, admitted, payload)
            else:
                with Lease(lambda: self._repairs.start(self._admissions.renew(job, key)), row.since_s):
                    await self._send(submission, lane, admitted, payload)
        except asyncio.CancelledError:
            # The record may be on its way. Two records of one job do no harm: only its first end counts.
            if again:
                self._repairs.start(self._deliver(submission, row, payload, again=False))
            raise
        except Exception as error:
            # Also when the outcome is unknown: the caller is told to try again, with the same key under the same id.
            if not isinstance(error, OutcomeUnknown):
                self._depths.give_back(row.lane)
            await self._repairs.surely("withdraw", lambda: self._admissions.withdraw(job, key))
            raise
        if key is not None:
            await self._repairs.surely("confirm", lambda: self._admissions.confirm(admitted, key))

    async def _send(self, submission: Submission, lane: Lane, job: Job, payload: Payload) -> None:
        travelling = await self._large.travelling(job, payload)
        await self._publisher.publish(self._record(submission, lane, job, travelling))

    def _record(self, submission: Submission, lane: Lane, job: Job, payload: Payload) -> OutRecord:
        traceparent, reply_to, written = submission.traceparent, submission.reply_to, submission.written
        sent = lane_job(job, payload, traceparent, reply_to=reply_to, written=written)
        return lane_record(self._lane_topic(lane), sent, SOURCE)

    async def _withdraw_twice(self, job: Job, key: IdempotencyKey | None) -> None:
        """Take back what was perhaps written, and once more: see `LATE_WRITE_S`."""
        await self._repairs.until_done("withdraw", lambda: self._admissions.withdraw(job, key))
        await asyncio.sleep(self._late_write_s)
        await self._repairs.until_done("withdraw", lambda: self._admissions.withdraw(job, key))
