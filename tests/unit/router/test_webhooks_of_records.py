"""A job's own webhook, as direct producers name it, and what is told where the job cannot be done."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from schemas.dead_letters import REPLAY_HEADER
from schemas.errors import StoreUnavailable
from schemas.jobs import Job, Status, failed_end
from schemas.webhooks import END_EVENTS, EventType
from stores.memory import MemoryJobs
from stores.protocols import JobKey
from tests.unit.router.requests import INSTANCES, NOW, record, routed
from tests.unit.router.test_router_pipeline import Room, opened_room
from workers.consuming.protocols import Record
from workers.router.routing import Refused, Routed

HOOK = "https://example.com/hook?of=17"
TOLD = ("ce_webhook", HOOK)
OTHER = {"webhook": "https://other.example/"}
EVENTS = (EventType.JOB_RUNNING, *END_EVENTS)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with opened_room() as opened:
        yield opened


def in_an_event(**attributes: object) -> Record:
    event = {"specversion": "1.0", "id": "a", "source": "/shop", "type": "t", "model": "vector", "data": INSTANCES}
    return record(event | attributes, ("content-type", "application/cloudevents+json"))


@pytest.mark.parametrize(
    "asked",
    [
        record(INSTANCES, ("ce_model", "vector"), TOLD, ("ce_webhookevents", "start,completed")),
        record(INSTANCES, ("model", "vector"), ("Webhook", HOOK), ("webhook_events_filter", '["completed","start"]')),
        record({"model": "vector", "input": INSTANCES, "webhook": HOOK, "webhook_events_filter": list(EVENTS)}),
        record({"model": "vector", **INSTANCES, "webhook": HOOK, "webhook_events_filter": ["start", "completed"]}),
        record({**INSTANCES, **OTHER}, ("ce_model", "vector"), TOLD, ("ce_webhookevents", "completed,start")),
        in_an_event(webhook=HOOK, webhookevents="completed,start"),
        in_an_event(webhook=HOOK, webhookevents=["start", "completed"]),
    ],
    ids=["attributes", "plain headers", "envelope", "beside the input", "header first", "event", "list in an event"],
)
def test_a_producer_names_a_webhook_as_it_names_any_option(asked: Record) -> None:
    found = routed(asked)
    assert isinstance(found, Routed)
    assert (found.job.webhook, found.job.webhook_events) == (HOOK, EVENTS)


def test_the_record_in_the_lane_says_nothing_of_the_webhook() -> None:
    found = routed(record({**INSTANCES, "webhook": HOOK}, ("ce_model", "vector"), TOLD))
    assert isinstance(found, Routed)
    assert b"example.com" not in b"".join([found.out.value or b"", *(value for _, value in found.out.headers)])


def test_a_private_address_needs_the_switch_for_development() -> None:
    inside = record(INSTANCES, ("model", "vector"), ("ce_webhook", "http://127.0.0.1:8099/hook"))
    refused, taken = routed(inside), routed(inside, private_webhooks=True)
    assert isinstance(refused, Refused)
    assert isinstance(taken, Routed)
    assert taken.job.webhook == "http://127.0.0.1:8099/hook"


LATE = (NOW - timedelta(seconds=1)).isoformat()


@pytest.mark.parametrize(
    "asked",
    [
        record(INSTANCES, ("ce_model", "nosuch"), TOLD),
        record({"instances": [[1]]}, ("ce_model", "vector"), TOLD),
        record(INSTANCES, ("ce_model", "vector"), TOLD, ("ce_lane", "express")),
        record(INSTANCES, ("ce_model", "vector"), TOLD, ("ce_lane", "live"), ("ce_lane", "bulk")),
        record(INSTANCES, ("ce_model", "vector"), TOLD, ("ce_deadline", LATE)),
        record({"model": "vector", "input": INSTANCES, "webhook": HOOK, "color": "red"}),
    ],
    ids=["no model", "input", "option", "option twice", "too late", "unknown member"],
)
def test_a_job_that_cannot_be_done_is_written_down_before_its_end_where_that_is_told(asked: Record) -> None:
    found = routed(asked)
    assert isinstance(found, Refused)
    assert found.job is not None
    assert (found.job.status, found.job.webhook, found.job.webhook_events) == (Status.QUEUED, HOOK, None)
    assert (found.job.id, found.job.expires_at) == (found.terminal.id, found.terminal.expires_at)


@pytest.mark.parametrize(
    "webhook",
    [
        [("ce_webhook", "https://nobody")],
        [TOLD, ("ce_webhook", "https://other.example/")],
        [TOLD, ("ce_webhookevents", "x")],
    ],
    ids=["bad", "twice", "bad filter"],
)
def test_a_job_whose_webhook_is_wrong_fails_and_tells_nobody(webhook: list[tuple[str, str]]) -> None:
    found = routed(record(INSTANCES, ("ce_model", "vector"), *webhook))
    assert isinstance(found, Refused)
    assert found.job is None
    assert found.terminal.error is not None
    assert (found.terminal.error.param or "").startswith("webhook")


def test_a_refused_job_without_a_webhook_gets_no_row_of_its_own() -> None:
    found = routed(record(INSTANCES, ("ce_model", "nosuch")))
    assert isinstance(found, Refused)
    assert found.job is None


async def test_the_row_of_a_refused_job_is_there_before_its_end_is_published(room: Room) -> None:
    await room.work(record(INSTANCES, ("model", "nosuch"), ("ce_id", "refused"), TOLD))
    stored = await room.stored("refused")
    assert stored is not None
    assert (stored.status, stored.webhook) == (Status.QUEUED, HOOK)
    assert room.ids("penstock.results.v1") == ["refused"]


async def ended_before(jobs: MemoryJobs, job_id: str = "old") -> Job:
    """A job with a webhook that has failed."""
    found = routed(record(INSTANCES, ("model", "vector"), ("ce_id", job_id), TOLD, ("ce_webhookevents", "completed")))
    assert isinstance(found, Routed)
    await jobs.insert_new([found.job])
    await jobs.finish([failed_end(found.job, StoreUnavailable("x"), NOW)])
    return found.job


async def test_what_a_dead_letter_is_replayed_as_is_told_to_whom_the_job_before_was(room: Room) -> None:
    await ended_before(room.jobs)
    replay = (REPLAY_HEADER, "old")
    await room.work(
        record(INSTANCES, ("model", "vector"), ("ce_id", "again"), replay),
        record(INSTANCES, ("model", "nosuch"), ("ce_id", "refused-again"), replay),
        record(INSTANCES, ("model", "vector"), ("ce_id", "own"), replay, ("ce_webhook", "https://other.example/")),
        record(INSTANCES, ("model", "vector"), ("ce_id", "of-none"), (REPLAY_HEADER, "nosuch")),
        record(INSTANCES, ("model", "vector"), ("ce_id", "of-no-job"), (REPLAY_HEADER, b"\xff")),
        record(INSTANCES, ("model", "vector"), ("ce_id", "plain")),
    )
    told = {job.id: (job.webhook, job.webhook_events) for job in (await room.jobs.admitted(room.jobs.known)).values()}
    again = HOOK, tuple(END_EVENTS)
    assert told == {
        "old": again,
        "again": again,
        "refused-again": again,
        "own": ("https://other.example/", None),
        "of-none": (None, None),
        "of-no-job": (None, None),
        "plain": (None, None),
    }


async def test_a_replay_waits_for_the_store_as_every_job_does(room: Room) -> None:
    await ended_before(room.jobs)
    tried: list[JobKey] = []
    admitted = room.jobs.admitted

    async def away_once(keys: list[JobKey]) -> object:
        if not tried:
            tried.extend(keys)
            raise StoreUnavailable("away")
        return await admitted(keys)

    room.jobs.admitted = away_once  # type: ignore[method-assign, assignment]
    await room.work(record(INSTANCES, ("model", "vector"), ("ce_id", "again"), (REPLAY_HEADER, "old")))
    stored = await room.stored("again")
    assert stored is not None
    assert stored.webhook == HOOK
    assert tried == [JobKey("default", "old")]
