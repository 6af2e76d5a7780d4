"""The client for threads. One may be shared by many."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar

import httpx

from penstock.client.events import EventReader
from penstock.client.jobs import Event, Job, Options, Result
from penstock.client.mapping import Mapped
from penstock.client.operations import DEFAULT, Document, Operations
from penstock.client.steps import Ask, Pause, Steps
from schemas.errors import PenstockError

T = TypeVar("T")

# A stream of events that was cut, or refused, is taken up again so much later.
AGAIN_AFTER_S: Final = 0.5


class Carry(Protocol):
    """Carries out the steps of an operation."""

    def __call__(self, steps: Steps[T], /) -> T: ...


class Client:
    """A server at `base_url`. Use as `with`, or call `close`.

    `api_key` goes along with each request. What fails for a passing reason (no connection, 429, 502 to 504) is tried
    again for `patience_s` seconds; submits have a key, so that none runs twice. Methods raise `PenstockError`.
    """

    def __init__(
        self, base_url: str, *, api_key: str | None = None, patience_s: float = 60.0, connections: int = 100
    ) -> None:
        self._operations = Operations(patience_s)
        self._http = httpx.Client(base_url=base_url, **http_options(api_key, connections))
        self._closed = threading.Event()
        self.batches = Batches(self.carry, self._operations)
        self.routes = Routes(self.carry, self._operations)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Whoever pauses before another try goes on at once, in vain."""
        self._closed.set()
        self._http.close()

    def run(self, model: str, inputs: Any, *, version: str | None = None, options: Options = DEFAULT) -> Result:
        """Submit a job and wait for its result, for as long as the job's own time. `inputs` as `as_body` takes them."""
        return self.carry(self._operations.run(model, inputs, version, options))

    def submit(self, model: str, inputs: Any, *, version: str | None = None, options: Options = DEFAULT) -> Job:
        return self.carry(self._operations.submit(model, inputs, version, options))

    def map(
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        in_flight: int = 32,
        version: str | None = None,
        options: Options = DEFAULT,
    ) -> Iterator[Mapped]:
        """A job for each input, `in_flight` of them at a time, in their order. Inputs are taken as they are needed."""
        with ThreadPoolExecutor(in_flight, thread_name_prefix="penstock-map") as pool:
            waiting: deque[Future[Mapped]] = deque()
            try:
                for index, each in enumerate(inputs):
                    waiting.append(pool.submit(self._mapped, index, model, each, version, options))
                    if len(waiting) >= in_flight:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _mapped(self, index: int, model: str, inputs: Any, version: str | None, options: Options) -> Mapped:
        try:
            return Mapped(index, self.run(model, inputs, version=version, options=options))
        except PenstockError as error:
            return Mapped(index, error=error)

    def job(self, job_id: str) -> Job:
        return self.carry(self._operations.job(job_id))

    def wait(self, job: Job | str) -> Job:
        """The job once it has ended, whichever way."""
        return self.carry(self._operations.wait(job))

    def result(self, job: Job | str) -> Result:
        """Waits for it. Raises why the job failed."""
        return self.carry(self._operations.result(job))

    def cancel(self, job: Job | str) -> Job:
        """The job as it is then: one that had ended stays as it was."""
        return self.carry(self._operations.cancel(id_of(job)))

    def events(self, job: Job | str) -> Iterator[Event]:
        """Each change of its state, until it has ended. A stream that is cut is taken up again."""
        reader, path = EventReader(), f"/v1/jobs/{id_of(job)}/events"
        done = False
        while not done:
            headers = {} if reader.last_id is None else {"Last-Event-ID": reader.last_id}
            try:
                with self._http.stream("GET", path, headers=headers, timeout=None) as answer:
                    if answer.status_code == httpx.codes.NO_CONTENT:
                        return
                    if not answer.is_success:
                        self.job(id_of(job))  # says what is wrong
                    for line in answer.iter_lines():
                        for event in reader.feed(line):
                            yield event
                            done = event.job.done
            except httpx.TransportError:
                self.job(id_of(job))  # tries for as long as there is patience
            if not done:
                self._closed.wait(AGAIN_AFTER_S)

    def feedback(self, job: Job | str, *, reward: float | None = None, label: Any = None) -> Document:
        """Tell what an answer was worth, 0 to 1, or what would have been right."""
        return self.carry(self._operations.feedback(id_of(job), told_of(reward, label)))

    def models(self) -> list[Document]:
        found: list[Document] = self.carry(self._operations.document("GET", "/v1/models"))["data"]
        return found

    def carry(self, steps: Steps[T]) -> T:
        """Carry the steps of an operation out."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    self._closed.wait(step.seconds)
                    step = steps.send(None)
                    continue
                try:
                    answer = self._send(step)
                except httpx.TransportError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    def _send(self, ask: Ask) -> httpx.Response:
        return self._http.request(ask.method, ask.path, timeout=ask.timeout, **sent(ask))


class Batches:
    """Files of many requests, run in bulk: docs/batches.md."""

    def __init__(self, carry: Carry, operations: Operations) -> None:
        self._carry = carry
        self._operations = operations

    def create(self, lines: Path | bytes, *, endpoint: str, window: str = "24h", **more: Any) -> Document:
        """Upload JSONL, and have it run. `more` are members of docs/batches.md: `deadline`, `priority` and so on."""
        if isinstance(lines, bytes):
            file = self._carry(self._operations.upload("lines.jsonl", lines))
        else:
            with lines.open("rb") as content:
                file = self._carry(self._operations.upload(lines.name, content))
        return self._carry(self._operations.create_batch(file["id"], endpoint, window, more))

    def get(self, batch_id: str) -> Document:
        return self._carry(self._operations.document("GET", f"/v1/batches/{batch_id}"))

    def cancel(self, batch_id: str) -> Document:
        return self._carry(self._operations.document("POST", f"/v1/batches/{batch_id}/cancel"))

    def wait(self, batch_id: str) -> Document:
        """The batch once it has ended."""
        return self._carry(self._operations.wait_batch(batch_id))

    def results(self, batch_id: str) -> Iterator[Document]:
        """Lines that are final by now, answers and errors alike, each once."""
        after: str | None = None
        while True:
            lines, after = self._carry(self._operations.batch_lines(batch_id, after))
            yield from lines
            if after is None:
                return


class Routes:
    """How a model's traffic splits among its versions: docs/routing.md."""

    def __init__(self, carry: Carry, operations: Operations) -> None:
        self._carry = carry
        self._operations = operations

    def get(self, model: str) -> Document:
        return self._carry(self._operations.route(model))

    def put(self, model: str, route: Mapping[str, Any], *, revision: int | None = None) -> Document:
        """`revision` is the one that is replaced; None where there is no route yet."""
        return self._carry(self._operations.put_route(model, route, revision))

    def delete(self, model: str, *, revision: int) -> None:
        self._carry(self._operations.delete_route(model, revision))


def http_options(api_key: str | None, connections: int) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    return {"limits": limits, "headers": headers}


def sent(ask: Ask) -> dict[str, Any]:
    """How httpx is told of it."""
    return {
        "params": dict(ask.params),
        "headers": dict(ask.headers),
        "content": ask.content,
        "json": ask.json,
        "files": ask.files,
    }


def id_of(job: Job | str) -> str:
    return job.id if isinstance(job, Job) else job


def told_of(reward: float | None, label: Any) -> dict[str, Any]:
    return {name: value for name, value in {"reward": reward, "label": label}.items() if value is not None}
