"""A canary, the stable version beside it, and the route that takes the canary back.

The jobs of the worker's unit tests are version 1's, so here that is the canary.
"""

from typing import Any

import msgspec

from producers.catalog import Catalog
from producers.routes import Routes
from schemas.catalog import CatalogEntry
from schemas.records import LaneJob
from schemas.routes import WHOLE, Route
from schemas.signature import Signature, TensorSpec
from schemas.topics import Lane, LaneClass
from schemas.versions import CatalogSnapshot
from tests.unit.inference.jobs import LIVE, NOON, SIGNATURE, TOPICS, lane_job, request_json
from workers.moves import Moves

STABLE = "2"
STABLE_TOPIC = TOPICS.lane(Lane(LIVE.model, STABLE, LaneClass.LIVE))
STABLE_BULK = TOPICS.lane(Lane(LIVE.model, STABLE, LaneClass.BULK))
OTHER = Signature(inputs=(TensorSpec("x", "FP64", (-1, 1)),), outputs=SIGNATURE.outputs)


def entry(version: str, signature: Signature = SIGNATURE) -> CatalogEntry:
    return CatalogEntry(
        model=LIVE.model,
        version=version,
        signature=signature,
        platform="test",
        max_batch_size=4,
        announced_at=NOON,
    )


def taken_back(revision: int = 2) -> Route:
    return Route(
        model=LIVE.model,
        revision=revision,
        versions={STABLE: WHOLE},
        default=STABLE,
        labels={"stable": STABLE},
        salt="adder",
        taken_back=(LIVE.version,),
        updated_at=NOON,
        updated_by="test",
    )


def moves(*entries: CatalogEntry, of: Route | None = None) -> Moves:
    routes = Routes()
    if of is not None:
        routes.of[of.model] = of
    snapshot = CatalogSnapshot()
    for each in entries or (entry(LIVE.version), entry(STABLE)):
        snapshot = snapshot.with_entry(each)
    return Moves(routes, Catalog(snapshot))


def canary_job(job_id: str | None = None, *, value: float = 1.0, lane: Lane = LIVE, **more: Any) -> LaneJob:
    """A job that came by the canary's share, and is rescued."""
    stamps = {"variant": "canary", "revision": 1, "cohort": 3, "rescue_to": STABLE, "reply_to": "gateway-1", **more}
    return msgspec.structs.replace(lane_job(job_id, request_json([value]), lane=lane), **stamps)
