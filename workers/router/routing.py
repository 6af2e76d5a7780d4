"""What becomes of a record of the requests topic: into a lane, to its end at once, or to the dead letters. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

import msgspec

from schemas.dead_letters import REPLAY_HEADER
from schemas.decoder import CheckedInput
from schemas.errors import PenstockError, Unavailable, Undecodable
from schemas.holds import NO_HOLDS, HoldSet, admission_refused
from schemas.images import Hold
from schemas.inputs import check_input
from schemas.jobs import Job, Status, Terminal, deadline_passed, is_job_id, queued_before
from schemas.malformed import as_refusal
from schemas.names import DEFAULT_TENANT, is_model_name, is_version
from schemas.records import OutRecord, lane_job, lane_record
from schemas.routes import Choice, Route
from schemas.sticky_keys import key_from
from schemas.topics import LaneClass, Topics
from schemas.versions import CatalogSnapshot, Placed, place
from workers.consuming.protocols import Record
from workers.router.event import last_header, read_event
from workers.router.submission import Asked, Checked, Limits, Webhook, asked_webhook, check_options, read_asked

SOURCE: Final = "/penstock/router"


class Routed(NamedTuple):
    """A job to be written down, and then its record for the lane."""

    record: Record
    job: Job
    out: OutRecord
    passed_over: str | None = None  # the version that the job's route gave it, where nobody has announced that


class Refused(NamedTuple):
    """A job that has failed before it could be queued. `job` is to be written down before its end, where that is to be
    told to somebody."""

    record: Record
    terminal: Terminal
    job: Job | None
    unforeseen: Exception | None = None  # an error of ours that the job ends with


class Dead(NamedTuple):
    """A record that is no job at all."""

    record: Record
    error: Undecodable


class Begun(NamedTuple):
    """A record whose input is still to be held against the signature."""

    record: Record
    asked: Asked
    checked: Checked
    placed: Placed
    max_input_bytes: int | None

    @property
    def check(self) -> Callable[[Hold], CheckedInput]:
        """What may take long. It can be pickled, to be done by another process."""
        return partial(check_input, self.placed.entry.signature, self.checked.payload, most_bytes=self.max_input_bytes)


def route(
    record: Record,
    catalog: CatalogSnapshot,
    routes: Mapping[str, Route],
    topics: Topics,
    limits: Limits,
    now: datetime,
    hold: Hold,
) -> Routed | Refused | Dead:
    """The same record, read again under the same catalog and routes, becomes the same job.

    Raises `Unavailable` where `hold` has no room for its images at the moment.
    """
    begun = begin(record, catalog, routes, limits, now)
    if not isinstance(begun, Begun):
        return begun
    try:
        return routed(begun, begun.check(hold), topics)
    except Unavailable:
        raise
    except Exception as error:
        return refused(begun, error, limits, now)


def begin(
    record: Record,
    catalog: CatalogSnapshot,
    routes: Mapping[str, Route],
    limits: Limits,
    now: datetime,
    holds: HoldSet = NO_HOLDS,
) -> Begun | Refused | Dead:
    """Everything about a record but its input."""
    try:
        asked = read_asked(record, read_event(record), now)
    except Undecodable as error:
        return Dead(record, error)
    webhook: Webhook | None = None
    checked: Checked | None = None
    placed: Placed | None = None
    try:
        webhook = asked_webhook(asked, limits)
        checked = check_options(asked, webhook, limits)
        placed = _place(record, asked, checked, catalog, routes.get(asked.model))
        _refuse_held(record, checked, placed, holds)
    except Exception as error:
        return _refused(record, _failed(asked, checked, placed, limits, as_refusal(error), now), webhook, error)
    if checked.expires_at <= now:
        late = deadline_passed("queued", asked.created_at, checked.expires_at, now, ahead_s(record, now))
        return _refused(record, _failed(asked, checked, placed, limits, late, now), webhook, late)
    return Begun(record, asked, checked, placed, limits.max_input_bytes)


def _refuse_held(record: Record, checked: Checked, placed: Placed, holds: HoldSet) -> None:
    """Raises `AdmissionRefused`."""
    entry = placed.entry
    hold = holds.refusing(tenant_of(record), entry.model, entry.version, checked.lane)
    if hold is not None:
        raise admission_refused(hold)


def _place(record: Record, asked: Asked, checked: Checked, catalog: CatalogSnapshot, route: Route | None) -> Placed:
    """Raises `ModelNotFound`, and `RequestError` for a sticky key that is none."""

    def sticky_key(source: str) -> str | None:
        return key_from(
            source,
            given=checked.sticky_key,
            header=lambda name: last_header(record, name),
            metadata=checked.metadata,
            record_key=record.key,
        )

    return place(catalog, route, asked.model, checked.version, tenant_of(record), asked.id, sticky_key)


def refused(begun: Begun, error: Exception, limits: Limits, now: datetime) -> Refused:
    """The end of a job whose input met an error: whose it is, is known, so that it is no riddle among dead letters."""
    end = _failed(begun.asked, begun.checked, begun.placed, limits, as_refusal(error), now)
    return _refused(begun.record, end, begun.checked.webhook, error)


def _refused(record: Record, end: Terminal, webhook: Webhook | None, error: Exception) -> Refused:
    job = None if webhook is None and replay_of(record) is None else _with_webhook(queued_before(end), webhook)
    return Refused(record, end, job, None if isinstance(error, PenstockError) else error)


def _with_webhook(job: Job, webhook: Webhook | None) -> Job:
    if webhook is None:
        return job
    return msgspec.structs.replace(job, webhook=webhook.url, webhook_events=webhook.events)


def replay_of(record: Record) -> str | None:
    """The job whose dead letter is replayed by this one, if it is."""
    raw = last_header(record, REPLAY_HEADER)
    if raw is None:
        return None
    text = raw.decode(errors="replace")
    return text if is_job_id(text) else None


def ahead_s(record: Record, now: datetime) -> float:
    """By how much the record's clock is ahead of ours at least; a record from the past may just have waited."""
    return max(0.0, record.timestamp_ms / 1000 - now.timestamp())


def routed(begun: Begun, given: CheckedInput, topics: Topics) -> Routed:
    """The job of a record whose input fits."""
    record, asked, checked, placed, _ = begun
    entry, choice, passed_over = placed
    webhook = checked.webhook
    job = Job(
        tenant=tenant_of(record),
        id=asked.id,
        model=entry.model,
        version=entry.version,
        lane=checked.lane,
        status=Status.QUEUED,
        created_at=asked.created_at,
        expires_at=checked.expires_at,
        rows=given.rows,
        answer=checked.answer or given.answer,
        variant=choice.variant,
        revision=choice.revision,
        cohort=choice.cohort,
        rescue_to=choice.rescue_to,
        metadata=checked.metadata,
        retention_s=entry.retention_s if checked.retention_s is None else checked.retention_s,
        row_errors=checked.row_errors,
        webhook=webhook and webhook.url,
        webhook_events=webhook and webhook.events,
    )
    out = lane_record(topics.lane(job.lane_of), lane_job(job, given.payload, checked.traceparent), SOURCE)
    return Routed(record, job, out, passed_over)


def tenant_of(_record: Record) -> str:
    """Whose job it is. What a producer says of itself (`ce_tenant`) is not believed."""
    return DEFAULT_TENANT


def _failed(
    asked: Asked,
    checked: Checked | None,
    placed: Placed | None,
    limits: Limits,
    error: PenstockError,
    now: datetime,
) -> Terminal:
    pinned = asked.options.get("version", "")
    choice = placed.choice if placed else Choice(pinned if is_version(pinned) else "")
    return Terminal(
        tenant=DEFAULT_TENANT,
        id=asked.id,
        model=_shown(asked.model),
        version=choice.version,
        variant=choice.variant,
        revision=choice.revision,
        cohort=choice.cohort,
        lane=checked.lane if checked else LaneClass.LIVE,
        status=Status.FAILED,
        created_at=asked.created_at,
        expires_at=checked.expires_at if checked else asked.created_at + timedelta(seconds=limits.default_timeout_s),
        completed_at=now,
        retention_s=checked.retention_s if checked else None,
        error=error.body(),
    )


def _shown(model: str) -> str:
    """The model's name as it may be written down and shown, also where it can be no model's name."""
    return model if is_model_name(model) else "".join(c if c.isprintable() else "?" for c in model[:64])
