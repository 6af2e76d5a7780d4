"""A whole gateway over in-memory twins, for tests of its HTTP."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import numpy as np
import orjson

from gateway.answers import Links
from gateway.app import GatewayApp
from gateway.batches.services import NoBatching, WithBatching, batching_of
from gateway.comparing import Comparisons
from gateway.hold_control import HoldControl
from gateway.lane_depth import LaneDepths
from gateway.model_control import ModelControl
from gateway.rollout_control import RolloutControl
from gateway.route_control import RouteControl
from gateway.route_replicas import RouteReplicas
from gateway.services import Services
from gateway.serving import Serving
from gateway.settings import GatewaySettings
from gateway.submissions import Submissions
from gateway.waiters import Waiters
from gateway.webhooks.services import WebhookStores, webhooks_of
from producers.catalog import Catalog
from producers.hold_telling import HoldTeller
from producers.holds import Holds
from producers.memory import MemoryLog
from producers.model_states import ModelStates
from producers.route_telling import RouteTeller
from producers.routes import Routes
from producers.worker_reports import WorkerReports
from runtime.budget import MemoryBudget
from runtime.clock import Clock
from runtime.health import Check
from runtime.reading import InputReader
from schemas.catalog import CatalogEntry
from schemas.errors import ErrorBody
from schemas.job_documents import JobLinks
from schemas.jobs import Job, Payload, Status, Terminal
from schemas.oip import encode_response
from schemas.records import LaneJob, read_lane_record
from schemas.signature import ImageSpec, Signature, TensorSpec
from schemas.signing import ResultLinks
from schemas.topics import Lane, LaneClass
from schemas.versions import CatalogSnapshot
from schemas.webhook_events import EventBodies
from stores.memory import MemoryJobs
from stores.memory_batches import BatchState, MemoryBatches, MemoryBatchWork, MemoryFiles
from stores.memory_blobs import MemoryBlobs
from stores.memory_feedback import MemoryFeedback
from stores.memory_holds import MemoryHolds
from stores.memory_promises import MemoryPromises
from stores.memory_replicas import MemoryReplicas
from stores.memory_rollouts import MemoryRollouts
from stores.memory_routes import MemoryRoutes
from stores.memory_shadows import MemoryShadows
from stores.memory_signals import MemorySignals
from stores.memory_version_counts import MemoryVersionCounts
from stores.memory_webhook_events import MemoryEvents
from stores.memory_webhook_log import MemoryDeliveryLog
from stores.memory_webhook_pulled import MemoryPulledEvents
from stores.memory_webhook_queue import MemoryDeliveryQueue
from stores.memory_webhook_state import WebhookState
from stores.memory_webhooks import MemoryEndpoints
from stores.protocols import JobKey
from stores.sealing import KeyRing

BASE_URL = "https://inference.example.com/api"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
TENANT = "default"
KEY = bytes(range(32))

VECTOR = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 2)),),
    outputs=(TensorSpec("y", "FP32", (-1,)),),
    features=("age", "height"),
)
DIGITS = Signature(
    inputs=(TensorSpec("image", "FP32", (-1, 8, 8)),),
    outputs=(TensorSpec("label", "INT64", (-1,)),),
    image=ImageSpec("image", 8, 8, mode="L", layout="HW"),
)

INPUT = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
SUBMIT = {"model": "vector", "input": INPUT}


def entry(model: str, version: str, signature: Signature, *, is_default: bool = False) -> CatalogEntry:
    return CatalogEntry(
        model=model,
        version=version,
        signature=signature,
        platform="onnxruntime_onnx",
        max_batch_size=16,
        is_default=is_default,
        description=f"{model} {version}",
        metrics={"accuracy": 0.9},
        announced_at=NOW,
    )


CATALOG = (
    CatalogSnapshot()
    .with_entry(entry("vector", "1", VECTOR))
    .with_entry(entry("vector", "2", VECTOR))
    .with_entry(entry("digits", "1", DIGITS, is_default=True))
    .with_entry(entry("digits", "2", DIGITS))
)
LIVE = Lane("vector", "2", LaneClass.LIVE)


class Store(MemoryJobs):
    """The twin, whose next calls meet the errors in `fail_next`."""

    def __init__(self, events: MemoryEvents, clock: Clock) -> None:
        super().__init__(clock=clock, events=events)
        self.fail_next: list[Exception] = []

    def _check_up(self) -> None:
        if self.fail_next:
            raise self.fail_next.pop(0)
        super()._check_up()


# For who does not have the first.
OTHER_KEYS = f"k2:{base64.b64encode(bytes(32)).decode()}"
GIVEN: dict[str, Any] = {
    "public_base_url": BASE_URL,
    "blobs_url": "file:///unused",
    "webhook_keys": f"k1:{base64.b64encode(KEY).decode()}",
}
USUAL = GatewaySettings(**GIVEN)


class House:
    """The twins, the gateway over them, and a client that talks to it."""

    def __init__(
        self,
        *,
        slow_s: float = 60.0,
        checks: Mapping[str, Check] | None = None,
        hints: Mapping[str, Check] | None = None,
        catalog: Catalog | None = None,
        **settings: Any,
    ) -> None:
        self.settings = USUAL if not settings else GatewaySettings(**GIVEN | settings)
        self.now = NOW  # as stores and webhooks see it
        self.keys = KeyRing(self.settings.webhook_key_ring)
        self.webhook_state = WebhookState()
        self.webhook_events = MemoryEvents(self.webhook_state)
        self.store = Store(self.webhook_events, lambda: self.now)
        self.log = MemoryLog()
        self.signals = MemorySignals(clock=lambda: NOW)
        self.store_trouble: str | None = None
        self.catalog = catalog or Catalog(CATALOG, lambda: self.clock_s)
        self.routes = Routes()
        self.holds = Holds()
        self.states = ModelStates()
        self.reports = WorkerReports(lambda: self.clock_s)
        self.clock_s = 0.0
        self.without_worker: set[tuple[str, str]] = set()
        self.serving = Serving(
            self.catalog,
            self.states,
            self.reports,
            lambda model, version: int((model, version) not in self.without_worker),
            self.routes,
            self.holds,
        )
        self.waiters = Waiters(
            self.store, self.signals, limit=self.settings.gateway_max_waiters, slow_s=slow_s, fast_s=0.01
        )
        self.depths = LaneDepths(self.settings.gateway_max_lane_depth)
        self.budget = MemoryBudget(self.settings.memory_budget_bytes)
        self.blobs = MemoryBlobs(lambda: self.now)
        self.submissions = Submissions(
            self.settings,
            self.serving,
            self.routes,
            self.depths,
            self.store,
            self.log,
            InputReader(self.budget),
            lambda: NOW,
            delays=lambda: iter([0.0] * 3),
            answered_within_s=60.0,
            late_write_s=0.0,
            store_trouble=lambda: self.store_trouble,
            blobs=self.blobs if self.settings.blobs_url else None,
        )
        self.route_store = MemoryRoutes(lambda: NOW)
        self.rollout_store = MemoryRollouts(self.route_store)
        self.shadow_store = MemoryShadows()
        self.feedback = MemoryFeedback(self.store)
        self.version_counts = MemoryVersionCounts()
        self.hold_store = MemoryHolds(self.store)
        self.replicas = MemoryReplicas()
        self.notifying = MemoryDeliveryQueue(self.webhook_state, self.store)
        self.delivery_log = MemoryDeliveryLog(self.webhook_state)
        self.pulled = MemoryPulledEvents(self.webhook_state, self.store)
        self.links = ResultLinks([KEY], BASE_URL)
        self.webhooks = webhooks_of(
            WebhookStores(
                endpoints=MemoryEndpoints(self.webhook_state, lambda: self.now),
                log=self.delivery_log,
                pulled=self.pulled,
            ),
            jobs=self.store,
            waiters=self.waiters,
            keys=self.keys,
            links=self.links,
            bodies=EventBodies(JobLinks(BASE_URL), self.links, timedelta(days=7)),
            allow_private=self.settings.webhook_allow_private,
            now=lambda: self.now,
            clock_s=lambda: self.clock_s,
        )
        self.batch_state = BatchState()
        self.batch_work = MemoryBatchWork(self.batch_state, self.webhook_events)
        self.promises = MemoryPromises()
        batching = batching_of(
            MemoryFiles(self.batch_state),
            MemoryBatches(self.batch_state),
            self.blobs,
            self.promises,
            self.serving,
            self.routes,
            lambda: self.now,
            most_bytes=self.settings.batch_max_file_bytes,
            at_once=self.settings.gateway_max_uploads,
        )
        teller = RouteTeller(self.route_store, self.log, self.settings.topics, within_s=60.0)
        self.services = Services(
            settings=self.settings,
            links=Links(self.settings.public_base_url),
            serving=self.serving,
            life=ModelControl(self.log, self.settings.topics, self.catalog, self.states, lambda: NOW),
            route_control=RouteControl(self.route_store, teller, self.serving, self.routes),
            route_replicas=RouteReplicas(self.replicas, lambda: self.waiters.draining),
            rollouts=RolloutControl(self.rollout_store, teller, self.serving, self.routes, lambda: NOW),
            shadows=self.shadow_store,
            feedback=self.feedback,
            comparisons=Comparisons(self.version_counts, self.feedback, self.serving, lambda: NOW),
            holds=HoldControl(
                self.hold_store,
                self.hold_store,
                HoldTeller(self.hold_store, self.log, self.settings.topics, within_s=60.0),
                self.serving,
                lambda: NOW,
                lambda: None,
            ),
            webhooks=self.webhooks,
            batching=WithBatching(batching) if self.settings.blobs_url else NoBatching(),
            budget=self.budget,
            submissions=self.submissions,
            jobs=self.store,
            signals=self.signals,
            waiters=self.waiters,
            now=lambda: NOW,
            checks=checks or {},
            hints=hints or {},
        )
        self.app = GatewayApp(self.services.checks)
        self.app.open(self.services)

    def records(self, lane: Lane = LIVE) -> list[LaneJob]:
        """What lies in a lane."""
        topic = self.settings.topics.lane(lane)
        return [read_lane_record(tuple(record.headers), record.value) for record in self.log.records(topic)]

    async def job(self, job_id: str) -> Job:
        job = await self.store.get(JobKey(TENANT, job_id))
        assert job is not None
        return job

    async def submitted(self, client: httpx.AsyncClient, **fields: Any) -> str:
        """The id of a job just submitted."""
        answer = await client.post("/v1/jobs", json=SUBMIT | fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def finish(self, job_id: str, *, tell: bool = True, lane: Lane = LIVE, **outcome: Any) -> None:
        """End a job as the sink does: succeeded with `y = [3.0]`, or as told. `tell` whoever waits for it."""
        sent = [record for record in self.records(lane) if record.id == job_id]
        job = sent[0] if sent else await self.job(job_id)
        fields = {"status": Status.SUCCEEDED, "result": RESULT if "error" not in outcome else None} | outcome
        terminal = Terminal(
            tenant=job.tenant,
            id=job.id,
            model=job.model,
            version=job.version,
            lane=job.lane,
            created_at=job.created_at,
            expires_at=job.expires_at,
            completed_at=NOW,
            answer=job.answer,
            metadata=job.metadata,
            reply_to=job.reply_to,
            **fields,
        )
        await self.store.finish([terminal])
        if tell:
            await self.signals.announce_done([JobKey(job.tenant, job.id)], [terminal])

    async def fail(self, job_id: str, error: ErrorBody) -> None:
        await self.finish(job_id, status=Status.FAILED, error=error)


RESULT = encode_response("vector", "2", "job_x", {"y": np.array([3.0], dtype=np.float32)})
RAW_RESULT = encode_response("vector", "2", "job_x", {"y": np.array([3.0], dtype=np.float32)}, frozenset({"y"}))
PREDICTIONS = Payload(b'{"predictions":["three"]}')


@asynccontextmanager
async def opened(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the house, while news are followed."""
    following = [asyncio.create_task(house.waiters.follow()), asyncio.create_task(house.webhooks.due.run())]
    transport = httpx.ASGITransport(house.app, raise_app_exceptions=True)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
            yield client
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


def problem(answer: httpx.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """The problem document in an answer, once it is what it must be."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["error"]["code"] == code
    assert document["error"]["param"] == param
    return document


def binary_request(values: Sequence[float] = (1.0, 2.0)) -> tuple[bytes, dict[str, str]]:
    """An OIP request with a raw tensor, and its headers."""
    raw = np.array(values, dtype="<f4").tobytes()
    described = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = orjson.dumps({"inputs": [described]})
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return head + raw, headers


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)
