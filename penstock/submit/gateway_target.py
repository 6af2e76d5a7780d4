"""Submitting over HTTP. The answer waits for the job; one that takes longer is collected by long poll."""

import hashlib
import math

import httpx

from penstock.gateway_client import WAIT_S, GatewayClient, JobAnswer, clients_for, job_once_ended, read_job
from penstock.patience import Patience
from penstock.submit.outcome import Ending, status_of
from producers.bulk.lines import JobLine
from schemas.jobs import TERMINAL

POOL_CONNECTIONS = 4


def pooled_clients(base_url: str, concurrency: int) -> list[httpx.AsyncClient]:
    """Clients whose connections suffice together for `concurrency` long polls at a time.

    Several, since a pool looks at each of its connections for every request: one of 64 costs more than the jobs do.
    """
    connections = min(concurrency, POOL_CONNECTIONS)
    return clients_for(base_url, connections, math.ceil(concurrency / connections))


class GatewayTarget:
    """Each line goes with an idempotency key made of `run_id`, its number and its content: the same line of the same
    run is the same job, however often it is sent within a day."""

    def __init__(self, gateway: GatewayClient, run_id: str, patience: Patience, *, wait: bool = True) -> None:
        self._gateway = gateway
        self._run_id = run_id
        self._patience = patience
        self._prefer = f"wait={WAIT_S}" if wait else "respond-async"

    def submission(self, line: JobLine) -> "GatewaySubmission":
        return GatewaySubmission(self, line)

    async def post(self, line: JobLine) -> JobAnswer:
        body = line.envelope()
        headers = {
            "content-type": "application/json",
            "idempotency-key": idempotency_key(self._run_id, line.number, body),
            "prefer": self._prefer,
        }

        async def attempt() -> JobAnswer:
            return read_job(await self._gateway.exchange("POST", "/v1/jobs", headers=headers, body=body))

        return await self._patience.until_done(attempt)

    async def poll(self, job_id: str) -> JobAnswer:
        """The job once it has ended."""
        return read_job(await job_once_ended(self._gateway, job_id, self._patience))


class GatewaySubmission:
    """One line on its way through the gateway."""

    def __init__(self, target: GatewayTarget, line: JobLine) -> None:
        self._target = target
        self._line = line
        self._job: JobAnswer | None = None

    async def send(self) -> str:
        self._job = await self._target.post(self._line)
        return self._job.id

    async def ending(self) -> Ending:
        job = self._job
        if job is None:
            raise RuntimeError("the line was not sent")
        if job.status not in TERMINAL:
            job = await self._target.poll(job.id)
        return Ending(status_of(job.status), job.result, job.error)


def idempotency_key(run_id: str, number: int, body: bytes) -> str:
    """The same for the same line of the same run, and for no other."""
    digest = hashlib.sha256()
    for part in (run_id.encode(), b"%d" % number, body):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return f"submit-{digest.hexdigest()[:40]}"
