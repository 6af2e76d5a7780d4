"""celery-batches: rows of digits, many tasks a call.

`python -m benchmarks.peers.celery_bulk <rows.npy> <count>` sends a task a row, waits for all of them, and prints the
seconds that it took.
"""

import os
import sys
import time
from functools import cache
from typing import Any

import numpy as np
from celery import Celery
from celery.result import AsyncResult
from celery_batches import Batches, SimpleRequest

from benchmarks.peers.digits import BATCH_ROWS, COLLECT_S, Digits

URL = os.environ["PEER_REDIS_URL"]
app = Celery("bulk", broker=URL, backend=URL)
app.conf.worker_prefetch_multiplier = 0
app.conf.broker_connection_retry_on_startup = True


@cache
def model() -> Digits:
    return Digits()


@app.task(base=Batches, flush_every=BATCH_ROWS, flush_interval=COLLECT_S, name="bulk")
def predict(requests: list[SimpleRequest]) -> None:
    label, probabilities = model().run(np.array([request.args[0] for request in requests], dtype=np.float32))
    for row, request in enumerate(requests):
        answer: dict[str, Any] = {"label": int(label[row]), "probabilities": probabilities[row].tolist()}
        app.backend.mark_as_done(request.id, answer, request=request)


def main(rows: str, count: str) -> None:
    data = np.load(rows, mmap_mode="r")[: int(count)]
    began = time.perf_counter()
    sent: list[AsyncResult] = [predict.delay(row.tolist()) for row in data]
    for each in sent:
        each.get(timeout=600)
    sys.stdout.write(f"{time.perf_counter() - began}\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
