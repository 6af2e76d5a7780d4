"""What clients can ask, as steps: see `penstock.client.steps`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from penstock.client.errors import error_of
from penstock.client.inputs import JSON_LENGTH, Body, Unnamed, as_body, tensors
from penstock.client.jobs import Job, Options, Result, predictions_of, tensors_of
from penstock.client.steps import Ask, Pause, Steps, asked, new_key
from schemas.errors import InvalidInput, JobError
from schemas.jobs import OCTET_STREAM, Payload, Status

# How long one answer waits for its job; proxies on the way often allow no more.
WAIT_S: Final = 25
DEFAULT: Final = Options()

Document = dict[str, Any]
_jobs: Final = msgspec.json.Decoder(Job)


class Operations:
    """`patience_s`: for how long what fails for a passing reason is tried again."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._inputs: dict[tuple[str, str | None], str] = {}

    def ask(self, ask: Ask) -> Steps[httpx.Response]:
        return asked(ask, self._patience_s)

    def document(self, method: str, path: str, **more: Any) -> Steps[Document]:
        answer = yield from self.ask(Ask(method, path, **more))
        found: Document = msgspec.json.decode(answer.content)
        return found

    def submit(self, model: str, inputs: Any, version: str | None, options: Options, wait_s: int = 0) -> Steps[Job]:
        body = yield from self._body(model, version, inputs)
        path = f"/v1/models/{_segment(model)}" + (f"/versions/{_segment(version)}" if version else "") + "/jobs"
        prefer = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        headers = {**body.headers, **new_key(), **prefer}
        answer = yield from self.ask(
            Ask("POST", path, params=options.params(), headers=headers, content=body.content, wait_s=wait_s)
        )
        return _jobs.decode(answer.content)

    def run(self, model: str, inputs: Any, version: str | None, options: Options) -> Steps[Result]:
        job = yield from self.submit(model, inputs, version, options, WAIT_S)
        return (yield from self.result(job))

    def job(self, job_id: str, wait_s: int = 0) -> Steps[Job]:
        headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        answer = yield from self.ask(Ask("GET", f"/v1/jobs/{_segment(job_id)}", headers=headers, wait_s=wait_s))
        job = _jobs.decode(answer.content)
        if wait_s and not job.done and "preference-applied" not in answer.headers:
            yield Pause(float(answer.headers.get("retry-after", 1)))  # nobody may wait there at the moment
        return job

    def wait(self, job: Job | str) -> Steps[Job]:
        """The job once it has ended; its own time bounds that."""
        known = job if isinstance(job, Job) else (yield from self.job(job))
        while not known.done:
            known = yield from self.job(known.id, WAIT_S)
        return known

    def result(self, job: Job | str) -> Steps[Result]:
        """Raises why the job failed."""
        ended = yield from self.wait(job)
        if ended.status is not Status.SUCCEEDED:
            raise error_of(ended.error) if ended.error else JobError(f"job {ended.id} is {ended.status}")
        found = predictions_of(ended)
        if found is not None:
            return found
        path = f"/v1/jobs/{_segment(ended.id)}/result"
        answer = yield from self.ask(Ask("GET", path, headers={"Accept": OCTET_STREAM}))
        length = answer.headers.get(JSON_LENGTH)
        return tensors_of(ended, Payload(answer.content, OCTET_STREAM, None if length is None else int(length)))

    def cancel(self, job_id: str) -> Steps[Job]:
        answer = yield from self.ask(Ask("POST", f"/v1/jobs/{_segment(job_id)}/cancel"))
        return _jobs.decode(answer.content)

    def feedback(self, job_id: str, told: Mapping[str, Any]) -> Steps[Document]:
        return (yield from self.document("POST", f"/v1/jobs/{_segment(job_id)}/feedback", json=dict(told)))

    def put_route(self, model: str, route: Mapping[str, Any], revision: int | None) -> Steps[Document]:
        headers = {} if revision is None else {"If-Match": f'"{revision}"'}
        return (yield from self.document("PUT", _route(model), json=dict(route), headers=headers))

    def route(self, model: str) -> Steps[Document]:
        return (yield from self.document("GET", _route(model)))

    def delete_route(self, model: str, revision: int) -> Steps[None]:
        yield from self.ask(Ask("DELETE", _route(model), headers={"If-Match": f'"{revision}"'}))

    def upload(self, name: str, content: Any) -> Steps[Document]:
        """`content` may be a file, which is read once: so it is not sent again."""
        files = {"purpose": (None, "batch"), "file": (name, content, "application/jsonl")}
        return (yield from self.document("POST", "/v1/files", files=files, repeatable=isinstance(content, bytes)))

    def create_batch(self, file_id: str, endpoint: str, window: str, more: Mapping[str, Any]) -> Steps[Document]:
        asked_for = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": window}
        times = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in more.items()}
        return (yield from self.document("POST", "/v1/batches", json=asked_for | times, headers=new_key()))

    def wait_batch(self, batch_id: str) -> Steps[Document]:
        pause_s = 0.2
        while True:
            batch = yield from self.document("GET", f"/v1/batches/{_segment(batch_id)}")
            if batch["status"] in ("completed", "failed", "expired", "cancelled"):
                return batch
            yield Pause(pause_s)
            pause_s = min(1.5 * pause_s, 5.0)

    def batch_lines(self, batch_id: str, after: str | None) -> Steps[tuple[list[Document], str | None]]:
        """What is final behind `after`, and the place behind it; no place once there is nothing more for now."""
        params = {} if after is None else {"after": after}
        answer = yield from self.ask(Ask("GET", f"/v1/batches/{_segment(batch_id)}/results", params=params))
        lines = [msgspec.json.decode(line) for line in answer.content.splitlines()]
        return lines, answer.headers.get("penstock-next-after") if lines else None

    def _body(self, model: str, version: str | None, inputs: Any) -> Steps[Body]:
        body = as_body(inputs)
        if not isinstance(body, Unnamed):
            return body
        name = self._inputs.get((model, version)) or (yield from self._only_input(model, version))
        return tensors({name: body.array})

    def _only_input(self, model: str, version: str | None) -> Steps[str]:
        known = version or (yield from self.document("GET", f"/v1/models/{_segment(model)}"))["default_version"]
        path = f"/v1/models/{_segment(model)}/versions/{_segment(known or '')}"
        names = [each["name"] for each in (yield from self.document("GET", path))["inputs"]]
        if len(names) != 1:
            raise InvalidInput(f"{model} has inputs {', '.join(names)}: give arrays by their names", param="inputs")
        self._inputs[model, version] = names[0]
        return str(names[0])


def _segment(text: str) -> str:
    return quote(text, safe="")


def _route(model: str) -> str:
    return f"/v1/routes/{_segment(model)}"
