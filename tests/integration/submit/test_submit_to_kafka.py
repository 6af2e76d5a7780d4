"""`penstock submit kafka://` against a real Kafka, with a worker of a few lines in place of everything behind it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGINT
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from producers.bulk.results import ResultsReader
from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, ensure_topics
from runtime.settings import KafkaSettings
from schemas.errors import ErrorBody, QueueUnavailable
from schemas.jobs import Payload, Status, Terminal
from schemas.records import terminal_record
from schemas.topics import LaneClass

COUNT = 500


@pytest.fixture
def settings(kafka_bootstrap_servers: str, topic_prefix: str) -> KafkaSettings:
    return KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap_servers, topic_prefix=topic_prefix)


@pytest.fixture
async def topics_exist(settings: KafkaSettings) -> None:
    await ensure_topics(settings, base_topics(settings, 3))


@pytest.fixture
async def answering(settings: KafkaSettings, topics_exist: None) -> AsyncIterator[None]:
    """Answers every record of the requests topic, twice; those whose number is odd with an error."""
    async with KafkaPublisher(settings) as publisher:
        task = asyncio.create_task(answer_for_ever(settings, publisher))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def answer_for_ever(settings: KafkaSettings, publisher: KafkaPublisher) -> None:
    consumer = AIOKafkaConsumer(
        settings.topics.requests,
        **settings.client_options(),
        group_id=f"{settings.topic_prefix}.test",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async for record in consumer:
            headers = dict(record.headers)
            number = json.loads(record.value)["instances"][0]
            first = ended(headers["ce_id"].decode(), number)
            again = ended(headers["ce_id"].decode(), -1)
            await publisher.publish_all(
                [terminal_record(settings.topics.results, each, "/test") for each in (first, again)]
            )
    finally:
        await consumer.stop()


def ended(job_id: str, number: int) -> Terminal:
    now = datetime.now(UTC)
    failed = number % 2 == 1
    return Terminal(
        tenant="default",
        id=job_id,
        model="numbers",
        version="1",
        lane=LaneClass.BULK,
        status=Status.FAILED if failed else Status.SUCCEEDED,
        created_at=now,
        expires_at=now,
        completed_at=now,
        error=ErrorBody("inference_failed", "odd", "inference_error") if failed else None,
        result=None if failed else Payload(json.dumps({"predictions": [number]}).encode()),
    )


class Submit:
    """The command, in a process of its own."""

    def __init__(self, settings: KafkaSettings, file: Path, output: Path) -> None:
        self._settings = settings
        self._file = file
        self.output = output
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str) -> None:
        to = f"kafka://{self._settings.kafka_bootstrap_servers}"
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "penstock", "submit", str(self._file), "--to", to, "--model", "numbers"),
            *("--output", str(self.output), *options),
            env={**os.environ, "PENSTOCK_TOPIC_PREFIX": self._settings.topic_prefix},
            stderr=asyncio.subprocess.PIPE,
        )

    def interrupt(self) -> None:
        assert self._process is not None
        self._process.send_signal(SIGINT)

    async def ended(self) -> tuple[int, str]:
        assert self._process is not None
        _, said = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, said.decode()

    def outcomes(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()] if self.output.exists() else []


@pytest.fixture
def submit(settings: KafkaSettings, tmp_path: Path) -> Submit:
    file = tmp_path / "jobs.jsonl"
    file.write_text("".join(f'{{"instances":[{number}],"custom_id":"{number}"}}\n' for number in range(COUNT)))
    return Submit(settings, file, tmp_path / "results.jsonl")


async def test_every_job_has_its_own_first_result(submit: Submit, answering: None) -> None:
    await submit.start("--concurrency", "200")
    status, said = await submit.ended()

    outcomes = {outcome["custom_id"]: outcome for outcome in submit.outcomes()}
    assert status == 1, said
    assert len(outcomes) == len(submit.outcomes()) == COUNT
    for name, outcome in outcomes.items():
        number = int(name)
        assert outcome["line"] == number + 1
        if number % 2:
            assert (outcome["status"], outcome["error"]["message"]) == ("failed", "odd")
        else:
            assert (outcome["status"], outcome["result"]) == ("succeeded", {"predictions": [number]})


async def test_without_waiting_every_record_is_written_before_the_command_ends(
    submit: Submit, settings: KafkaSettings, topics_exist: None
) -> None:
    await submit.start("--no-wait")
    status, said = await submit.ended()

    assert status == 0, said
    ids = {outcome["id"] for outcome in submit.outcomes()}
    assert len(ids) == COUNT
    assert await ids_in(settings, settings.topics.requests, COUNT) == ids


async def test_ctrl_c_leaves_the_ids_of_what_was_accepted(
    submit: Submit, settings: KafkaSettings, topics_exist: None
) -> None:
    await submit.start("--concurrency", "20")
    # Nobody answers: twenty jobs are under way, and no more.
    await ids_in(settings, settings.topics.requests, 20)
    submit.interrupt()
    status, said = await submit.ended()

    assert status == 130, said
    assert {outcome["status"] for outcome in submit.outcomes()} <= {"queued"}
    assert len(submit.outcomes()) <= 20
    assert all(outcome["id"].startswith("job_") for outcome in submit.outcomes())


async def test_a_cluster_without_a_penstock_is_told_as_such(submit: Submit) -> None:
    await submit.start()
    status, said = await submit.ended()

    assert status == 1
    assert "does not exist" in said
    assert "Traceback" not in said


async def test_a_reader_of_results_sees_what_is_written_after_it_began(
    settings: KafkaSettings, topics_exist: None
) -> None:
    async with KafkaPublisher(settings) as publisher:
        await publisher.publish(terminal_record(settings.topics.results, ended("before", 0), "/test"))
        async with ResultsReader(settings) as reader:
            await publisher.publish(terminal_record(settings.topics.results, ended("after", 2), "/test"))
            terminal = await anext(reader.terminals())

    assert terminal.id == "after"


async def test_a_reader_of_results_wants_the_topic_to_exist(settings: KafkaSettings) -> None:
    with pytest.raises(QueueUnavailable, match="does not exist"):
        async with ResultsReader(settings):
            pass


async def ids_in(settings: KafkaSettings, topic: str, count: int) -> set[str]:
    """The `ce_id` of the topic's first `count` records."""
    consumer = AIOKafkaConsumer(topic, **settings.client_options(), group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    ids: set[str] = set()
    try:
        async with asyncio.timeout(30):
            while len(ids) < count:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    ids |= {dict(record.headers)["ce_id"].decode() for record in records}
    finally:
        await consumer.stop()
    return ids
