"""Giving a job to another version than its own: to which, and as which record."""

from collections.abc import Callable
from typing import Final

import msgspec

from producers.catalog import Catalog
from producers.routes import Routes
from runtime.logs import get_logger
from schemas.errors import PenstockError
from schemas.jobs import Submitted, Terminal
from schemas.moves import moved_to
from schemas.oip import parse_request
from schemas.records import ATTEMPT_HEADER, RETRY_REASON_HEADER, LaneJob, OutRecord, read_lane_record
from schemas.routes import Choice, Route
from schemas.signature import Signature
from schemas.stats import FAULTS, end_kind
from schemas.topics import Lane, Topics
from schemas.versions import served, takes_the_same
from workers.consuming.protocols import Record

log = get_logger(__name__)

# What a job gets whose version was taken back; None where it stays.
MovedTo = Callable[[LaneJob], Choice | None]

RESCUE_TO_HEADER: Final = "ce_rescueto"
# What is said anew of a job that moves. What it met in its version's lane is forgotten.
_RESTAMPED: Final = frozenset(
    {
        "ce_modelversion",
        "ce_variant",
        "ce_routerevision",
        "ce_cohort",
        "ce_movedfrom",
        RESCUE_TO_HEADER,
        ATTEMPT_HEADER,
        RETRY_REASON_HEADER,
    }
)


def nothing_moves(_: LaneJob) -> None:
    """No version is taken back."""


class Moves:
    """Which jobs go to another version, by the newest routes. Where no route is known, each stays."""

    def __init__(self, routes: Routes, catalog: Catalog) -> None:
        self._routes = routes
        self._catalog = catalog
        self._told: dict[tuple[str, str], int] = {}  # by version, the last revision of which it was told

    def waiting(self, job: LaneJob) -> Choice | None:
        """What a job gets whose version was taken back while it waited; None where it stays."""
        if job.cohort is None:
            return None
        route = self._routes.of.get(job.model)
        if route is None:
            return None
        choice = moved_to(route, job.version, job.revision, job.cohort)
        return None if choice is None else self._where_it_fits(job, route, choice)

    def failed(self, record: Record, end: Terminal) -> Choice | None:
        """What a job gets whose version has failed it by its own fault; None where that is its end."""
        if end.error is None or end_kind(end.error.code) not in FAULTS:
            return None
        if all(name != RESCUE_TO_HEADER for name, _ in record.headers):  # to read all of it takes longer
            return None
        job = read_lane_record(record.headers, record.value)
        version, route = job.rescue_to, self._routes.of.get(end.model)
        if version is None:
            return None
        variant = None if route is None else route.variants.get(version)
        # The version that is to rescue it may have been taken back, too; or it left the catalog, with its workers.
        to = self.waiting(msgspec.structs.replace(job, version=version)) or Choice(
            version, variant, end.revision, end.cohort
        )
        return to if to.version != end.version and self._may_run(job, to.version) else None

    def _may_run(self, job: LaneJob, version: str) -> bool:
        """Whether the version is there and takes the job. Where nothing is known of the model, it may."""
        catalog = self._catalog.snapshot
        if job.model not in catalog.models:
            return True
        other = catalog.get(job.model, version)
        own = self._catalog.signature(job.model, job.version)
        return other is not None and takes(job, own or other.signature, other.signature)

    def _where_it_fits(self, job: LaneJob, route: Route, choice: Choice) -> Choice | None:
        """The choice, if the other version takes what was made for the job's."""
        catalog = self._catalog.snapshot
        if job.model not in catalog.models:
            return None
        placed = served(catalog, route, choice)
        if placed.entry.version == job.version:
            return None
        own = self._catalog.signature(job.model, job.version)
        if own is not None and takes(job, own, placed.entry.signature):
            return placed.choice
        if self._told.get((job.model, job.version)) != route.revision:
            self._told[job.model, job.version] = route.revision
            log.warning(
                "jobs stay with a version that was taken back: the other is not known to take the same",
                model=job.model,
                version=job.version,
                other=placed.entry.version,
            )
        return None


def takes(job: LaneJob, own: Signature, other: Signature) -> bool:
    """Whether another version takes a job that was checked for its own.

    The request is read only where it may ask for an output that the other lacks; one that lies in the blob store stays
    then.
    """
    if not takes_the_same(own, other):
        return False
    if {each.name for each in own.outputs} <= {each.name for each in other.outputs}:
        return True
    if job.payload.claim is not None:
        return False
    try:
        parse_request(other, job.payload)
    except PenstockError:
        return False
    return True


def moved_record(topics: Topics, record: Record, job: Submitted, to: Choice) -> OutRecord:
    """The job's record as it goes into the lane of the other version: key, value and headers kept, but for what a
    version is chosen by."""
    kept = [header for header in record.headers if header[0] not in _RESTAMPED]
    stamps = {
        "ce_modelversion": to.version,
        "ce_movedfrom": job.version,
        "ce_variant": to.variant,
        "ce_routerevision": to.revision,
        "ce_cohort": to.cohort,
        RESCUE_TO_HEADER: to.rescue_to,
    }
    told = [(name, str(value).encode()) for name, value in stamps.items() if value is not None]
    lane = topics.lane(Lane(job.model, to.version, job.lane))
    return OutRecord(lane, record.key, record.value, [*kept, *told], any_partition=True, grown=True)
