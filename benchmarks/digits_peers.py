"""Two other systems that serve the same digits: Celery with Redis, polled through FastAPI, and mosec."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import psutil

from benchmarks.installation import family, with_ended_cpu_s
from benchmarks.load import Target
from benchmarks.models import Models
from benchmarks.one_bad_row import PEERS
from benchmarks.processes import stranger, until_listening, until_ready
from benchmarks.workload import as_json, digits
from penstock.embedded.elsewhere import Service
from penstock.embedded.stack import EmbeddedStack

CELERY = ("-m", "celery", "-A", "benchmarks.peers.celery_digits", "worker", "--loglevel=CRITICAL")
API = ("-m", "benchmarks.peers.celery_api")
MOSEC = ("-m", "benchmarks.peers.mosec_digits", "--address", "127.0.0.1", "--port")


def body() -> str:
    """One job: a real digit as FP32 JSON."""
    return as_json(digits(1)).value.decode()


def used(parts: Mapping[str, int]) -> Callable[[], dict[str, float]]:
    """The processor time so far of the processes with these ids, and of all that they started."""
    processes = {name: psutil.Process(pid) for name, pid in parts.items()}
    return lambda: {name: sum(map(with_ended_cpu_s, family(process))) for name, process in processes.items()}


@asynccontextmanager
async def celery() -> AsyncIterator[Target]:
    """A worker as the command starts it (a process a core), and an API before it. What has ended is kept in memory."""
    port = Models.free_port()
    async with EmbeddedStack(None, services=frozenset([Service.VALKEY])) as stack:
        told = {"PEER_REDIS_URL": stack.redis_url}
        async with stranger(PEERS, CELERY, told) as worker, stranger(PEERS, [*API, str(port)], told) as api:
            await until_ready(f"http://127.0.0.1:{port}/readyz", api)
            cpu_s = used({"gateway": api.pid, "worker": worker.pid, "Valkey": stack.valkey.pid})
            yield Target(port, "/jobs", body(), cpu_s, jobs_path="/jobs")


@asynccontextmanager
async def mosec() -> AsyncIterator[Target]:
    port = Models.free_port()
    async with stranger(PEERS, [*MOSEC, str(port)]) as running:
        await until_listening(port, running)
        yield Target(port, "/inference", body(), used({"worker": running.pid}), says_status=False)
