"""Jobs over HTTP, as any client sees them: nothing of ours is imported here."""

from typing import Any

import httpx

from tests.waiting import eventually

Json = dict[str, Any]

JOB_MEMBERS = {
    *("id", "object", "status", "done", "model", "model_version", "variant", "route_revision"),
    "batch_id",
    *("created_at", "started_at", "completed_at", "expires_at", "result", "error", "metadata", "urls"),
}
# There where there is something to say.
MORE_MEMBERS = {"notice", "keep_until", "moved_from", "held", "webhook", "webhook_events_filter"}


def accepted(answer: httpx.Response) -> Json:
    """The job in the answer to a submit."""
    assert answer.status_code == 202, answer.text
    return job_in(answer)


def job_in(answer: httpx.Response) -> Json:
    assert answer.headers["content-type"] == "application/json", answer.text
    job: Json = answer.json()
    assert job.keys() - MORE_MEMBERS == JOB_MEMBERS
    assert job["object"] == "job"
    return job


async def read(http: httpx.AsyncClient, job_id: str) -> Json:
    answer = await http.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return job_in(answer)


async def ended(http: httpx.AsyncClient, job_id: str, timeout_s: float = 30.0) -> Json:
    """The job in its terminal state, polled for as clients do that know nothing better."""

    async def terminal() -> Json | None:
        job = await read(http, job_id)
        return job if job["done"] else None

    job = await eventually(terminal, timeout_s, f"job {job_id} ends")
    assert job is not None
    return job


async def succeeded(http: httpx.AsyncClient, job_id: str, timeout_s: float = 30.0) -> Json:
    job = await ended(http, job_id, timeout_s)
    assert job["status"] == "succeeded", job
    return job


def output(job: Json, name: str) -> Json:
    """An output tensor of a job that was asked for by tensors."""
    (tensor,) = [tensor for tensor in job["result"]["outputs"] if tensor["name"] == name]
    found: Json = tensor
    return found


def problem(answer: httpx.Response, status: int) -> Json:
    """The `error` of a problem document, once the document keeps its rules (RFC 9457)."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail", "error"} <= document.keys()
    error: Json = document["error"]
    assert error.keys() == {"code", "message", "type", "param"}
    assert error["message"]
    return error
