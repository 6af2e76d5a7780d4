"""Celery: the digits as a task, with Redis as its broker and for its results."""

import os
from functools import cache
from typing import Any

from celery import Celery

from benchmarks.peers.digits import Digits

URL = os.environ["PEER_REDIS_URL"]
app = Celery("digits", broker=URL, backend=URL)
app.conf.broker_connection_retry_on_startup = True


@cache
def model() -> Digits:
    """Once in each process."""
    return Digits()


@app.task(name="digits")
def predict(request: dict[str, Any]) -> dict[str, Any]:
    return model().predict([request])[0]
