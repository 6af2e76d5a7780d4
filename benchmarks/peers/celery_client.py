"""`python -m benchmarks.peers.celery_client <rows as JSON> <seconds>`: sends a task a row, and tells what became of
them when all have ended or the time is over: a list of `answered`, `failed` or `silent`."""

import json
import sys
import time

from celery.result import AsyncResult

from benchmarks.peers.celery_app import lookup

FATES = {"SUCCESS": "answered", "FAILURE": "failed"}


def main(rows: str, patience_s: str) -> None:
    sent: list[AsyncResult] = [lookup.delay(row) for row in json.loads(rows)]
    deadline = time.monotonic() + float(patience_s)
    while time.monotonic() < deadline and not all(each.ready() for each in sent):
        pass  # `ready` asks the store
    json.dump([FATES.get(each.state, "silent") for each in sent], sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:3])
