"""Creating, reading and cancelling batches."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from gateway.batches.promising import BatchPromises
from gateway.batches.requests import Asked, BatchRequest
from gateway.serving import Serving
from producers.routes import Routes
from schemas.batches import Batch, BatchStatus, new_batch_id
from schemas.errors import BatchNotFound, ModelNotFound, PenstockError, RequestError, StoreUnavailable
from schemas.topics import Lane, LaneClass
from schemas.versions import Placed, place
from stores.batches import Batches
from stores.protocols import IdempotencyKey


class Created(NamedTuple):
    """`replayed`: by an earlier request with the same idempotency key."""

    batch: Batch
    replayed: bool


class BatchControl:
    def __init__(
        self,
        batches: Batches,
        promises: BatchPromises,
        serving: Serving,
        routes: Routes,
        now: Callable[[], datetime],
    ) -> None:
        self._batches = batches
        self._promises = promises
        self._serving = serving
        self._routes = routes
        self._now = now

    async def create(self, tenant: str, asked: Asked, key: IdempotencyKey | None = None) -> Created:
        """Pins the version where the endpoint names the model. Raises `RequestError`, `ModelNotFound`,
        `AdmissionRefused`, `DeadlineUnattainable`, `FileNotFound`, `Conflict`, `IdempotencyMismatch`."""
        if key is not None and (known := await self._batches.recall(tenant, key)) is not None:
            return Created(known, replayed=True)
        batch_id, now = new_batch_id(), self._now()
        expires_at = now + timedelta(seconds=asked.window_s)
        _check_order(asked.request, now, expires_at)
        placed = self._placed(tenant, batch_id, asked)
        batch = Batch(
            tenant=tenant,
            id=batch_id,
            endpoint=asked.request.endpoint,
            input_file_id=asked.request.input_file_id,
            completion_window=asked.request.completion_window,
            status=BatchStatus.VALIDATING,
            created_at=now,
            expires_at=expires_at,
            deadline=asked.request.deadline,
            not_before=asked.request.not_before,
            daily=asked.request.daily,
            priority=asked.priority,
            model=placed and placed.entry.model,
            version=placed and placed.entry.version,
            revision=placed and placed.choice.revision,
            metadata=asked.metadata,
            output_expires_after_s=asked.output_expires_after_s,
        )
        added = await self._added(batch, key)
        return Created(added, replayed=added.id != batch.id)

    async def _added(self, batch: Batch, key: IdempotencyKey | None) -> Batch:
        if batch.deadline is None:
            return await self._batches.add(batch, key)
        await self._promises.ask(batch)
        try:
            added = await self._batches.add(batch, key)
        except PenstockError as error:
            if not (isinstance(error, StoreUnavailable) and error.perhaps_done):
                await self._promises.give_back(batch)
            raise
        if added.id != batch.id:
            await self._promises.give_back(batch)
        return added

    async def get(self, tenant: str, batch_id: str) -> Batch:
        return _found(await self._batches.get(tenant, batch_id), batch_id)

    async def page(self, tenant: str, after: str | None, limit: int) -> Sequence[Batch]:
        return await self._batches.list(tenant, after=after, limit=limit)

    async def cancel(self, tenant: str, batch_id: str) -> Batch:
        return _found(await self._batches.cancel(tenant, batch_id, self._now()), batch_id)

    def _placed(self, tenant: str, batch_id: str, asked: Asked) -> Placed | None:
        model, version = asked.endpoint.model, asked.endpoint.version
        if model is None:
            return None
        snapshot, route = self._serving.catalog.snapshot, self._routes.of.get(model)
        try:
            placed = place(snapshot, route, model, version, tenant, batch_id, lambda _: None)
        except ModelNotFound as error:
            raise self._serving.explained(error, model, version) from error
        self._serving.refuse_held(tenant, Lane(placed.entry.model, placed.entry.version, LaneClass.BULK))
        return placed


def _check_order(request: BatchRequest, now: datetime, expires_at: datetime) -> None:
    """Now, not before, deadline, the end of the window."""
    deadline, not_before = request.deadline, request.not_before
    if not_before is not None and not_before >= expires_at:
        raise RequestError("not_before is behind the completion window", param="not_before")
    if deadline is None:
        return
    if deadline > expires_at:
        raise RequestError("deadline is behind the completion window", param="deadline")
    if deadline <= max(now, not_before or now):
        raise RequestError("deadline is over, or before not_before", param="deadline")


def _found(batch: Batch | None, batch_id: str) -> Batch:
    if batch is None:
        raise BatchNotFound(f"there is no batch {batch_id[:100]!r}")
    return batch
