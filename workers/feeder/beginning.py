"""How a batch begins: its input is looked through, and its version pinned."""

from producers.catalog import Catalog
from producers.routes import Routes
from schemas.batches import Batch, Endpoint, LineError, endpoint_of
from schemas.errors import BlobNotFound, ModelNotFound
from schemas.versions import place
from stores.batches import Beginning, Lead
from workers.feeder.feed import Seams
from workers.feeder.validation import Validation


class Beginnings:
    def __init__(self, seams: Seams, catalog: Catalog, routes: Routes, most_lines: int) -> None:
        self._seams = seams
        self._catalog = catalog
        self._routes = routes
        self._most_lines = most_lines

    async def look_through(self, lead: Lead, batch: Batch) -> None:
        """Once it is written down what was found, the batch is in progress, or has failed."""
        work, now = self._seams.work, self._seams.now
        file = await work.input_of(batch)
        endpoint = endpoint_of(batch.endpoint) or Endpoint()
        if file is None or file.key is None:
            await self._refuse(lead, batch, "input_gone", "the input is not there any more")
            return
        try:
            found = await Validation(batch.endpoint, endpoint, self._most_lines).run(self._seams.blobs, file.key)
        except BlobNotFound:
            await self._refuse(lead, batch, "input_gone", "the input is not there any more")
            return
        if found.errors:
            await work.refuse(lead, batch.id, found.errors, found.line_errors, now())
            return
        if batch.model is not None and batch.version is not None:
            beginning = Beginning(total=found.total, model=batch.model, version=batch.version, revision=batch.revision)
        else:
            try:
                model = endpoint.model or found.model or ""
                beginning = self._placed(batch, model, endpoint.version or found.version, found.total)
            except ModelNotFound as error:
                await self._refuse(lead, batch, error.code, error.message)
                return
        await work.begin(lead, batch.id, beginning, now())

    def _placed(self, batch: Batch, model: str, version: str | None, total: int) -> Beginning:
        route = self._routes.of.get(model)
        placed = place(self._catalog.snapshot, route, model, version, batch.tenant, batch.id, lambda _: None)
        entry = placed.entry
        return Beginning(total=total, model=entry.model, version=entry.version, revision=placed.choice.revision)

    async def _refuse(self, lead: Lead, batch: Batch, code: str, message: str) -> None:
        errors = [LineError(code=code, message=message)]
        await self._seams.work.refuse(lead, batch.id, errors, 1, self._seams.now())
