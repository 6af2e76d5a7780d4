"""A direct producer that never gives up: jobs as bare records, written by librdkafka under ids of their own."""

import asyncio
import json
import time
import uuid
from functools import partial

from confluent_kafka import KafkaError, Message, Producer

from tests.acceptance.kafka import QUIET
from tests.waiting import until

EVERY_S = 0.1
# Longer than any outage here: within it librdkafka tries again by itself.
PATIENCE_S = 300


class DirectLoad:
    """Numbered jobs for the model `tickets`, as in `Load`; `accepted` are those that the broker has acknowledged.

    They are handed to librdkafka at their time, whatever became of those before. `latest_s`: how far that fell behind.
    """

    def __init__(self, bootstrap_servers: str, topic: str, *, first: int) -> None:
        self.accepted: dict[int, str] = {}
        self.gave_up: list[str] = []
        self.latest_s = 0.0
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "log_level": QUIET,
                "delivery.timeout.ms": PATIENCE_S * 1000,
            }
        )
        self._topic = topic
        self._first = first
        self._name = f"direct-{uuid.uuid4().hex}"

    async def arrive(self, jobs: int, per_s: float) -> None:
        """So many jobs at this rate; returns when the broker has them all."""
        began = time.monotonic()
        for place in range(jobs):
            due = began + place / per_s
            if due - time.monotonic() > EVERY_S:
                await until(due)
            self.latest_s = max(self.latest_s, time.monotonic() - due)
            self._write(self._first + place)
            self._producer.poll(0)
        await asyncio.to_thread(self._producer.flush, PATIENCE_S)

    def _write(self, number: int) -> None:
        job_id = f"{self._name}-{number}"
        value = json.dumps({"instances": [{"ticket": number, "turns": 0}]})
        headers: dict[str, str | bytes | None] = {"ce_id": job_id, "model": "tickets"}
        self._producer.produce(
            self._topic, value, headers=headers, on_delivery=partial(self._on_delivery, number, job_id)
        )

    def _on_delivery(self, number: int, job_id: str, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.accepted[number] = job_id
        else:
            self.gave_up.append(f"{job_id} was not written: {error}")
