"""celery-batches: a task that is called with many requests, and marks each of them as done."""

import os

from celery import Celery
from celery_batches import Batches, SimpleRequest

from benchmarks.peers.lookup import BATCH_ROWS, COLLECT_S, predict

URL = os.environ["PEER_REDIS_URL"]
app = Celery("peer", broker=URL, backend=URL)
app.conf.worker_prefetch_multiplier = 0
app.conf.broker_connection_retry_on_startup = True


@app.task(base=Batches, flush_every=BATCH_ROWS, flush_interval=COLLECT_S, name="lookup")
def lookup(requests: list[SimpleRequest]) -> None:
    answers = predict([request.args[0] for request in requests])
    for request, answer in zip(requests, answers, strict=True):
        app.backend.mark_as_done(request.id, answer, request=request)
