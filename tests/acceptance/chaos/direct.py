"""A direct producer that never gives up: jobs as bare records, written by librdkafka under ids of their own."""

import asyncio
import json
import time
import uuid

from confluent_kafka import KafkaException

from tests.acceptance import kafka
from tests.waiting import until

EVERY_S = 0.5


class DirectLoad:
    """Numbered jobs for the model `tickets`, as in `Load`; `accepted` are those that the broker has acknowledged."""

    def __init__(self, bootstrap_servers: str, topic: str, *, first: int) -> None:
        self.accepted: dict[int, str] = {}
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._first = first
        self._name = f"direct-{uuid.uuid4().hex}"

    async def arrive(self, jobs: int, per_s: float) -> None:
        """So many jobs at this rate, twice a second a few; returns when the broker has them all."""
        began = time.monotonic()
        together = max(1, round(per_s * EVERY_S))
        for done in range(0, jobs, together):
            await until(began + done / per_s)
            await self._write(range(self._first + done, self._first + min(jobs, done + together)))

    async def _write(self, numbers: range) -> None:
        ids = {number: f"{self._name}-{number}" for number in numbers}
        records = [
            kafka.Said(
                json.dumps({"instances": [{"ticket": number, "turns": 0}]}).encode(),
                {"ce_id": job_id, "model": "tickets"},
            )
            for number, job_id in ids.items()
        ]
        while not await asyncio.to_thread(self._is_written, records):
            pass
        self.accepted |= ids

    def _is_written(self, records: list[kafka.Said]) -> bool:
        try:
            kafka.send_all(self._bootstrap_servers, self._topic, records)
        except (AssertionError, KafkaException):
            return False
        return True
