"""What crosses between processes of two versions: what only the newer one knows is passed over or kept, never fatal."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from schemas.catalog import CatalogEntry, decode_entry, encode_entry
from schemas.errors import ErrorBody, TransientFailure
from schemas.jobs import Status, Terminal
from schemas.model_states import ModelState, WantedState, decode_state, encode_state
from schemas.records import LaneJob, read_lane_record, read_terminal_record, terminal_record
from schemas.route_documents import decode_route, encode_route
from schemas.routes import Choice, Pin, Route, Sticky
from schemas.signature import Signature, TensorSpec
from schemas.stats import Counts, End, StatsRecord, decode_stats, encode_stats
from schemas.topics import LaneClass
from schemas.worker_reports import NotServed, VersionReport, WorkerReport, decode_report, encode_report
from stores.protocols import JobKey
from stores.redis.codec import decode_ends, decode_running, encode_ends, encode_running
from tests.unit.inference.canaries import canary_job
from tests.unit.inference.jobs import LIVE_TOPIC, NOON, TOPICS, out_record
from workers.consuming.protocols import Record
from workers.dead_letters import dead_letter
from workers.inference.results.retry_policy import retry_record
from workers.moves import moved_record
from workers.router.placing import Placing

NOW = datetime(2026, 1, 2, tzinfo=UTC)
UNKNOWN = ("ce_ofanewerversion", b"\xff\x00 anything")
SIGNATURE = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=(TensorSpec("y", "FP32", (-1,)),))
ROUTE = Route(
    model="digits",
    revision=7,
    versions={"1": 9000, "2": 1000},
    default="1",
    labels={"canary": "2"},
    sticky=Sticky("header:x-user"),
    pins=(Pin("1", key="bob"),),
    salt="s",
    updated_at=NOW,
    updated_by="ann",
)
ENTRY = CatalogEntry(
    model="digits", version="1", signature=SIGNATURE, platform="test", max_batch_size=4, announced_at=NOW
)
STATS = StatsRecord(
    model="digits",
    version="1",
    lane=LaneClass.LIVE,
    worker="w",
    began_at=NOW,
    ended_at=NOW,
    counts=Counts(ends={End.FAILED: {7: 1}}, run_times={3: {1: 2}}, revisions=(1, 2)),
)
REPORT = WorkerReport(NOW, {"digits/1": VersionReport(NotServed.REFUSED, "why")})
END = Terminal(
    tenant="default",
    id="job_1",
    model="digits",
    version="2",
    lane=LaneClass.LIVE,
    status=Status.FAILED,
    created_at=NOW,
    expires_at=NOW,
    completed_at=NOW,
    error=ErrorBody("inference_failed", "it broke", "inference_error"),
)

# An example, where in it objects of ours stand, how it is written and how read.
DOCUMENTS: dict[str, tuple[Any, tuple[str, ...], Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "route": (ROUTE, ("", "sticky", "pins.0"), encode_route, decode_route),
    "catalog": (ENTRY, ("", "signature", "signature.inputs.0"), encode_entry, decode_entry),
    "state": (WantedState(ModelState.UNLOADED, NOW), ("",), encode_state, decode_state),
    "report": (REPORT, ("", "versions.digits/1"), encode_report, decode_report),
    "stats": (STATS, ("", "counts"), encode_stats, decode_stats),
}


def cases() -> Iterator[Any]:
    for name, (_, places, _, _) in DOCUMENTS.items():
        for place in places:
            yield pytest.param(name, place, id=f"{name} {place}")


@pytest.mark.parametrize(("name", "place"), [*cases()])
def test_members_that_are_not_known_are_passed_over(name: str, place: str) -> None:
    example, _, encode, decode = DOCUMENTS[name]
    document = msgspec.json.decode(encode(example))
    inner = document
    for step in place.split(".") if place else ():
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner["of_a_newer_version"] = {"rate": 0.5, "more": [None, "x"]}
    assert decode(msgspec.json.encode(document)) == example


def test_a_state_that_is_not_known_spoils_no_report_of_other_versions() -> None:
    told = encode_report(REPORT).replace(b'"refused"', b'"of_a_newer_version"')
    assert decode_report(told) == REPORT


def record(job: LaneJob) -> Record:
    out = out_record(job)
    return Record(LIVE_TOPIC, 0, 1, 1, out.key, out.value, (UNKNOWN, *out.headers), 0)


def test_headers_of_a_job_that_are_not_known_are_passed_over_and_kept_wherever_it_goes() -> None:
    job = canary_job()
    came = record(job)
    assert read_lane_record(came.headers, came.value) == job

    placed = Placing(TOPICS, 1.0).again(came, "group").out
    moved = moved_record(TOPICS, came, job, Choice("2"))
    aside = retry_record("tier", came, 1, TransientFailure("away"))
    for out in (placed, moved, aside, dead_letter(came, "group", TransientFailure("away"))):
        assert UNKNOWN in out.headers
        assert read_lane_record(tuple(out.headers), out.value).id == job.id


def test_headers_of_a_result_that_are_not_known_are_passed_over() -> None:
    out = terminal_record("results", END, "/test")
    assert read_terminal_record((UNKNOWN, *out.headers), out.value) == END


def test_a_job_of_an_older_version_is_one_that_came_by_no_route() -> None:
    """Records that wait in lanes are older than whoever reads them."""
    newer = ("ce_variant", "ce_routerevision", "ce_cohort", "ce_rescueto", "ce_replyto")
    out = out_record(canary_job())
    headers = tuple(header for header in out.headers if header[0] not in newer)
    job = read_lane_record(headers, out.value)
    assert (job.variant, job.revision, job.cohort, job.rescue_to, job.reply_to) == (None,) * 5


def test_news_over_redis_may_hold_more_than_is_known() -> None:
    ends = msgspec.msgpack.decode(encode_ends([END]))
    ends[0]["of_a_newer_version"] = [1]
    assert list(decode_ends(msgspec.msgpack.encode(ends))) == [END]

    running = msgspec.json.decode(encode_running([JobKey("default", "job_1")], NOON))
    running["of_a_newer_version"] = {}
    assert decode_running(msgspec.json.encode(running)) == ([JobKey("default", "job_1")], NOON)
