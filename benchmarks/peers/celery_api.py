"""`python -m benchmarks.peers.celery_api PORT`: jobs over HTTP: FastAPI before Celery."""

import sys
from typing import Any

import uvicorn
from celery.result import AsyncResult
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from benchmarks.peers.celery_digits import app as celery
from benchmarks.peers.celery_digits import predict

STATUSES = {"PENDING": "queued", "STARTED": "running", "SUCCESS": "succeeded", "FAILURE": "failed"}
api = FastAPI()


@api.get("/readyz")
def ready() -> dict[str, bool]:
    return {"ready": True}


@api.post("/jobs", status_code=202)
def submit(request: dict[str, Any]) -> dict[str, str]:
    return {"id": predict.delay(request).id, "status": "queued"}


@api.get("/jobs/{job_id}")
def poll(job_id: str) -> JSONResponse:
    # One look at the store: each of `state` and `result` would be another.
    found = AsyncResult(job_id, app=celery).backend.get_task_meta(job_id)
    status = STATUSES[found["status"]]
    return JSONResponse({"id": job_id, "status": status, "result": found["result"] if status == "succeeded" else None})


if __name__ == "__main__":
    uvicorn.run(api, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
