"""Jobs of direct producers: what they ask for, and what comes of it."""

import hashlib
import json

import httpx

from tests.acceptance import digits, jobs
from tests.waiting import eventually

ROWS = digits.images(2)
INSTANCES = json.dumps({"instances": ROWS.tolist()}).encode()
LABELS = [str(label) for label in digits.labels(ROWS)]


async def found(http: httpx.AsyncClient, job_id: str) -> jobs.Json:
    """The job of a record, once the router has read it."""

    async def known() -> bool:
        return (await http.get(f"/v1/jobs/{job_id}")).status_code == 200

    await eventually(known, 30, f"job {job_id} is known")
    return await jobs.ended(http, job_id)


def id_of_event(source: str, event_id: str) -> str:
    """The id of the job that an event asks for, as the page about Kafka records says."""
    digest = hashlib.sha256(f"{source}\n{event_id}".encode()).hexdigest()
    return f"event_{digest[:40]}"


def labels_of(job: jobs.Json) -> list[str]:
    assert job["status"] == "succeeded", job
    return [row["label"] for row in job["result"]["predictions"]]
