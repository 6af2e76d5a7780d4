"""What one would write without a queue behind it: a FastAPI route that validates the body and answers 202."""

import sys
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: Literal["FP32"]
    data: list[float]


class Input(BaseModel):
    inputs: list[Tensor]


class Envelope(BaseModel):
    model: str
    input: Input
    metadata: dict[str, Any] = {}


@app.post("/v1/jobs", status_code=202)
async def submit(envelope: Envelope) -> dict[str, str]:
    return {"object": "job", "status": "queued", "model": envelope.model}


@app.get("/readyz")
async def ready() -> dict[str, bool]:
    return {"ready": True}


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", log_config=None, access_log=False
    )
