"""The client for asyncio: what `Client` has, to be awaited."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import httpx

from penstock.client.events import EventReader
from penstock.client.jobs import Event, Job, Options, Result
from penstock.client.mapping import Mapped
from penstock.client.operations import DEFAULT, Document, Operations
from penstock.client.steps import Pause, Steps
from penstock.client.synchronous import AGAIN_AFTER_S, http_options, id_of, sent, told_of
from schemas.errors import PenstockError

T = TypeVar("T")


class AsyncCarry(Protocol):
    """Carries out the steps of an operation."""

    async def __call__(self, steps: Steps[T], /) -> T: ...


class AsyncClient:
    """A server at `base_url`. Use as `async with`, or call `close`. Else as `Client`."""

    def __init__(
        self, base_url: str, *, api_key: str | None = None, patience_s: float = 60.0, connections: int = 100
    ) -> None:
        self._operations = Operations(patience_s)
        self._http = httpx.AsyncClient(base_url=base_url, **http_options(api_key, connections))
        self.batches = AsyncBatches(self.carry, self._operations)
        self.routes = AsyncRoutes(self.carry, self._operations)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def run(self, model: str, inputs: Any, *, version: str | None = None, options: Options = DEFAULT) -> Result:
        return await self.carry(self._operations.run(model, inputs, version, options))

    async def submit(self, model: str, inputs: Any, *, version: str | None = None, options: Options = DEFAULT) -> Job:
        return await self.carry(self._operations.submit(model, inputs, version, options))

    async def map(
        self,
        model: str,
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        in_flight: int = 32,
        version: str | None = None,
        options: Options = DEFAULT,
    ) -> AsyncIterator[Mapped]:
        """A job for each input, `in_flight` of them at a time, in their order. Inputs are taken as they are needed."""
        waiting: deque[asyncio.Task[Mapped]] = deque()
        index = 0
        try:
            async for each in _each(inputs):
                waiting.append(asyncio.create_task(self._mapped(index, model, each, version, options)))
                index += 1
                if len(waiting) >= in_flight:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _mapped(self, index: int, model: str, inputs: Any, version: str | None, options: Options) -> Mapped:
        try:
            return Mapped(index, await self.run(model, inputs, version=version, options=options))
        except PenstockError as error:
            return Mapped(index, error=error)

    async def job(self, job_id: str) -> Job:
        return await self.carry(self._operations.job(job_id))

    async def wait(self, job: Job | str) -> Job:
        return await self.carry(self._operations.wait(job))

    async def result(self, job: Job | str) -> Result:
        return await self.carry(self._operations.result(job))

    async def cancel(self, job: Job | str) -> Job:
        return await self.carry(self._operations.cancel(id_of(job)))

    async def events(self, job: Job | str) -> AsyncIterator[Event]:
        """Each change of its state, until it has ended. A stream that is cut is taken up again."""
        reader, path = EventReader(), f"/v1/jobs/{id_of(job)}/events"
        done = False
        while not done:
            headers = {} if reader.last_id is None else {"Last-Event-ID": reader.last_id}
            try:
                async with self._http.stream("GET", path, headers=headers, timeout=None) as answer:
                    if answer.status_code == httpx.codes.NO_CONTENT:
                        return
                    if not answer.is_success:
                        await self.job(id_of(job))  # says what is wrong
                    async for line in answer.aiter_lines():
                        for event in reader.feed(line):
                            yield event
                            done = event.job.done
            except httpx.TransportError:
                await self.job(id_of(job))  # tries for as long as there is patience
            if not done:
                await asyncio.sleep(AGAIN_AFTER_S)

    async def feedback(self, job: Job | str, *, reward: float | None = None, label: Any = None) -> Document:
        return await self.carry(self._operations.feedback(id_of(job), told_of(reward, label)))

    async def models(self) -> list[Document]:
        found: list[Document] = (await self.carry(self._operations.document("GET", "/v1/models")))["data"]
        return found

    async def carry(self, steps: Steps[T]) -> T:
        """Carry the steps of an operation out."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = steps.send(None)
                    continue
                try:
                    answer = await self._http.request(step.method, step.path, timeout=step.timeout, **sent(step))
                except httpx.TransportError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value


class AsyncBatches:
    """As `Batches`."""

    def __init__(self, carry: AsyncCarry, operations: Operations) -> None:
        self._carry = carry
        self._operations = operations

    async def create(self, lines: Path | bytes, *, endpoint: str, window: str = "24h", **more: Any) -> Document:
        """The file is read within the loop's thread, piece by piece."""
        if isinstance(lines, bytes):
            file = await self._carry(self._operations.upload("lines.jsonl", lines))
        else:
            with lines.open("rb") as content:
                file = await self._carry(self._operations.upload(lines.name, content))
        return await self._carry(self._operations.create_batch(file["id"], endpoint, window, more))

    async def get(self, batch_id: str) -> Document:
        return await self._carry(self._operations.document("GET", f"/v1/batches/{batch_id}"))

    async def cancel(self, batch_id: str) -> Document:
        return await self._carry(self._operations.document("POST", f"/v1/batches/{batch_id}/cancel"))

    async def wait(self, batch_id: str) -> Document:
        return await self._carry(self._operations.wait_batch(batch_id))

    async def results(self, batch_id: str) -> AsyncIterator[Document]:
        after: str | None = None
        while True:
            lines, after = await self._carry(self._operations.batch_lines(batch_id, after))
            for line in lines:
                yield line
            if after is None:
                return


class AsyncRoutes:
    """As `Routes`."""

    def __init__(self, carry: AsyncCarry, operations: Operations) -> None:
        self._carry = carry
        self._operations = operations

    async def get(self, model: str) -> Document:
        return await self._carry(self._operations.route(model))

    async def put(self, model: str, route: Mapping[str, Any], *, revision: int | None = None) -> Document:
        return await self._carry(self._operations.put_route(model, route, revision))

    async def delete(self, model: str, *, revision: int) -> None:
        await self._carry(self._operations.delete_route(model, revision))


async def _each(inputs: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(inputs, AsyncIterable):
        async for each in inputs:
            yield each
        return
    for each in inputs:
        yield each
