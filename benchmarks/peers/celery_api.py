"""`python -m benchmarks.peers.celery_api PORT`: jobs over HTTP: FastAPI before Celery."""

import json
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from redis.asyncio import Redis

from benchmarks.peers.celery_digits import URL, predict

STATUSES = {"PENDING": "queued", "STARTED": "running", "SUCCESS": "succeeded", "FAILURE": "failed"}
api = FastAPI()
results = Redis.from_url(URL)


@api.get("/readyz")
def ready() -> dict[str, bool]:
    return {"ready": True}


@api.post("/jobs", status_code=202)
def submit(request: dict[str, Any]) -> dict[str, str]:
    return {"id": predict.delay(request).id, "status": "queued"}


@api.get("/jobs/{job_id}")
async def poll(job_id: str) -> JSONResponse:
    # Celery's own look at a result blocks, and needs a thread each time: this is what it reads, and quicker.
    found = json.loads(await results.get(f"celery-task-meta-{job_id}") or '{"status": "PENDING"}')
    return JSONResponse({"id": job_id, "status": STATUSES[found["status"]], "result": found.get("result")})


if __name__ == "__main__":
    uvicorn.run(api, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
