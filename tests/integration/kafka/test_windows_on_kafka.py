"""Windows of counts on a real Kafka: they outlive their keeper, and another has them when it goes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from producers.kafka_publisher import KafkaPublisher
from producers.topics import ensure_topics, stats_topic, stats_windows_topic
from runtime.clock import now_utc
from runtime.lifecycle import BackgroundTasks
from runtime.settings import KafkaSettings
from schemas.records import OutRecord
from schemas.stats import Counts, End, StatsRecord, encode_stats, interval_start
from schemas.topics import LaneClass
from tests.waiting import eventually
from workers.rollout.keeper import Keeper

pytestmark = pytest.mark.timeout(180)
JOINED_WITHIN_S = 60.0

Told = dict[str, int]


@pytest.fixture
async def settings(kafka_settings: KafkaSettings) -> KafkaSettings:
    await ensure_topics(kafka_settings, [stats_topic(kafka_settings), stats_windows_topic(kafka_settings)])
    return kafka_settings.model_copy(update={"kafka_session_timeout_s": 6.0, "kafka_group_instance_id": "keeper"})


def told(worker: str, version: str = "1", jobs: int = 1, ago_s: int = 0) -> StatsRecord:
    ended = now_utc() - timedelta(seconds=ago_s)
    counts = Counts(ends={End.SUCCEEDED: {7: jobs}})
    began = interval_start(ended)
    return StatsRecord(
        model="digits",
        version=version,
        lane=LaneClass.LIVE,
        worker=worker,
        began_at=began,
        ended_at=ended,
        counts=counts,
    )


async def tell(publisher: KafkaPublisher, settings: KafkaSettings, *records: StatsRecord | bytes) -> None:
    values = [record if isinstance(record, bytes) else encode_stats(record) for record in records]
    outs = [OutRecord(settings.topics.stats, b"digits", value, [], partition=0) for value in values]
    assert not any(await publisher.publish_all(outs))


@asynccontextmanager
async def keeping(settings: KafkaSettings) -> AsyncIterator[Keeper]:
    async with BackgroundTasks(asyncio.Event()) as side:
        keeper = Keeper(settings)
        side.start(keeper.run(), "windows")
        await eventually(lambda: keeper.read_until, JOINED_WITHIN_S)
        yield keeper


def jobs(keeper: Keeper) -> Told:
    now = now_utc()
    span = (now - timedelta(hours=1), now + timedelta(minutes=1))
    found = keeper.windows.between("digits", ["1", "2"], LaneClass.LIVE, *span)
    return {version: counts.jobs() for version, counts in found.items()}


PROGRAM = """
from runtime.lifecycle import BackgroundTasks
from runtime.process import ProcessSettings, run_process
from runtime.settings import KafkaSettings
from workers.rollout.keeper import Keeper

class Settings(KafkaSettings, ProcessSettings): ...

class Role:
    checks = {}
    def __init__(self, settings): self.keeper = Keeper(settings)
    async def run(self, stop):
        async with BackgroundTasks(stop) as side:
            side.start(self.keeper.run(), "windows")
            await stop.wait()

run_process("keeper", Settings, Role)
"""


@contextmanager
def another_process(settings: KafkaSettings) -> Iterator["subprocess.Popen[bytes]"]:
    """One that keeps the same windows."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    given = {
        "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "PENSTOCK_TOPIC_PREFIX": settings.topic_prefix,
        "PENSTOCK_KAFKA_SESSION_TIMEOUT_S": str(settings.kafka_session_timeout_s),
        "PENSTOCK_KAFKA_GROUP_INSTANCE_ID": settings.kafka_group_instance_id or "",
        "PENSTOCK_HEALTH_PORT": "0",
    }
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environ | given, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def heard(process: "subprocess.Popen[bytes]", what: str) -> None:
    """Return when it has said so."""
    assert process.stderr is not None
    lines = (msgspec.json.decode(line) for line in process.stderr)
    assert any(line["event"] == what for line in lines)


async def test_windows_outlive_the_process_that_keeps_them(settings: KafkaSettings, publisher: KafkaPublisher) -> None:
    records = [told("a"), told("b"), told("a", "2", 5)]
    async with keeping(settings) as keeper:
        assert keeper.trouble is None
        await tell(publisher, settings, records[0], b"no record", b"", *records)
        await eventually(lambda: jobs(keeper) == {"1": 2, "2": 5})
    with another_process(settings) as process:
        heard(process, "keeping the windows")
        await tell(publisher, settings, told("c"))
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    async with keeping(settings) as keeper:
        await eventually(lambda: jobs(keeper) == {"1": 3, "2": 5})
        await tell(publisher, settings, records[0], records[2])  # once more, as after a crash
        at = datetime.now(UTC)
        await eventually(lambda: keeper.read_until is not None and keeper.read_until > at)
        assert jobs(keeper) == {"1": 3, "2": 5}


async def test_one_of_two_keeps_the_windows_and_the_other_takes_over(
    settings: KafkaSettings, publisher: KafkaPublisher
) -> None:
    with another_process(settings.model_copy(update={"kafka_group_instance_id": "other"})) as other:
        heard(other, "keeping the windows")
        await tell(publisher, settings, told("a"), told("b"))
        async with BackgroundTasks(asyncio.Event()) as side:
            keeper = Keeper(settings)
            side.start(keeper.run(), "windows")
            await eventually(lambda: keeper.trouble is None, JOINED_WITHIN_S)
            keeper_is_spare = not keeper._owner
            other.send_signal(signal.SIGTERM)
            other.communicate(timeout=30)
            assert other.returncode == 0
            await eventually(lambda: keeper.read_until, JOINED_WITHIN_S)
            await eventually(lambda: jobs(keeper) == {"1": 2, "2": 0})
    assert keeper_is_spare
