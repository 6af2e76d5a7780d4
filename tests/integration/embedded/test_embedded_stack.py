"""The real Postgres, Valkey and Kafka as our children."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis
from redis.exceptions import RedisError

from penstock.embedded.elsewhere import Elsewhere, Service
from penstock.embedded.kafka import FIRST_COMPILER
from penstock.embedded.locations import cache_dir
from penstock.embedded.stack import EmbeddedStack
from penstock.errors import StackError
from tests.waiting import eventually

TOPIC = "kept.requests.v1"


@pytest.fixture
def data_path() -> Iterator[Path]:
    """Not below the test runner's directories, which are closed to the account that Postgres runs as under root."""
    with tempfile.TemporaryDirectory(prefix="penstock-test-") as top:
        Path(top).chmod(0o711)
        yield Path(top, "data")


@contextmanager
def skipped_where_missing() -> Iterator[None]:
    """As the fixtures do: what cannot be had fails in CI only."""
    try:
        yield
    except StackError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


async def write_everywhere(stack: EmbeddedStack) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        await producer.send_and_wait(TOPIC, b"kept")
    connection = await asyncpg.connect(stack.postgres_dsn)
    await connection.execute("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('kept')")
    await connection.close()
    async with Redis.from_url(stack.redis_url) as redis:
        await redis.set("kept", "kept")


async def read_everywhere(stack: EmbeddedStack) -> list[str]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.kafka_bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    consumer.assign([TopicPartition(TOPIC, 0)])
    record = await consumer.getone()
    await consumer.stop()
    connection = await asyncpg.connect(stack.postgres_dsn)
    word = await connection.fetchval("SELECT word FROM kept")
    await connection.close()
    async with Redis.from_url(stack.redis_url, decode_responses=True) as redis:
        value = await redis.get("kept")
    return [record.value.decode(), word, str(value)]


async def test_what_is_written_stays_for_the_next_stack_at_the_same_addresses(data_path: Path) -> None:
    with skipped_where_missing():
        async with EmbeddedStack(data_path, kafka_compilers=FIRST_COMPILER) as first:
            addresses = [first.address(service) for service in Service]
            await write_everywhere(first)
    async with EmbeddedStack(data_path, kafka_compilers=FIRST_COMPILER) as second:
        assert [second.address(service) for service in Service] == addresses
        assert await read_everywhere(second) == ["kept", "kept", "kept"]


async def test_services_that_are_killed_come_back_with_what_they_acknowledged(data_path: Path) -> None:
    """Kafka acknowledges from memory, and so survives its own death but not the machine's; as in production."""
    with skipped_where_missing():
        async with EmbeddedStack(data_path, kafka_compilers=FIRST_COMPILER) as stack:
            await write_everywhere(stack)
            # Valkey writes once a second; being killed may cost it that second, by design.
            async with Redis.from_url(stack.redis_url) as redis:
                await redis.waitaof(1, 0, 5000)
            for part in stack.parts:
                part.kill()
                await part.wait()
            await asyncio.gather(*(part.start() for part in stack.parts))
            assert await read_everywhere(stack) == ["kept", "kept", "kept"]


async def test_a_second_stack_over_one_directory_is_refused(data_path: Path) -> None:
    async with EmbeddedStack(data_path, services=frozenset([Service.VALKEY])):
        with pytest.raises(StackError, match=rf"is in use by another `penstock up` \(pid {os.getpid()}\)"):
            async with EmbeddedStack(data_path, services=frozenset([Service.VALKEY])):
                pass


async def test_a_service_leaves_a_port_that_is_wanted_for_something_else(data_path: Path) -> None:
    said: list[str] = []
    valkey = frozenset([Service.VALKEY])
    async with EmbeddedStack(data_path, services=valkey) as stack:
        port = int(stack.redis_url.rpartition(":")[2].split("/")[0])
    async with EmbeddedStack(data_path, services=valkey, avoid_ports=[port], announce=said.append) as stack:
        assert f":{port}" not in stack.redis_url
    assert [line for line in said if f"port {port} (valkey)" in line]


async def test_a_service_elsewhere_is_used_and_not_started() -> None:
    elsewhere = Elsewhere(kafka_bootstrap_servers="broker.example:9092", postgres_dsn="postgresql://db.example/jobs")
    async with EmbeddedStack(None, elsewhere=elsewhere) as stack:
        assert [part.name for part in stack.parts] == ["Valkey"]
        assert stack.kafka_bootstrap_servers == "broker.example:9092"
        assert stack.postgres_dsn == "postgresql://db.example/jobs"


async def test_an_ephemeral_stack_leaves_no_directory_and_no_process() -> None:
    async with EmbeddedStack(None, services=frozenset([Service.VALKEY, Service.POSTGRES])) as stack:
        path = stack.data_dir.path
        pids = [part.pid for part in stack.parts] + [stack.reaper.pid]
    assert not path.exists()
    assert not any(map(psutil.pid_exists, pids))


async def test_a_throw_away_database_that_is_killed_keeps_what_it_acknowledged() -> None:
    async with EmbeddedStack(None, services=frozenset([Service.POSTGRES])) as stack:
        connection = await asyncpg.connect(stack.postgres_dsn)
        await connection.execute("CREATE TABLE kept (number int)")
        for number in range(100):
            await connection.execute("INSERT INTO kept VALUES ($1)", number)
        stack.postgres.kill()
        connection.terminate()
        await stack.postgres.wait()
        await stack.postgres.start()
        connection = await asyncpg.connect(stack.postgres_dsn)
        assert await connection.fetchval("SELECT count(*) FROM kept") == 100
        await connection.close()


async def test_strangers_on_this_machine_need_a_password() -> None:
    async with EmbeddedStack(None, services=frozenset([Service.VALKEY, Service.POSTGRES])) as stack:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(stack.postgres_dsn, password="guessed")
        port = stack.redis_url.rpartition(":")[2]
        async with Redis.from_url(f"redis://127.0.0.1:{port}") as redis:
            with pytest.raises(RedisError, match="HELLO must be called with the client already authenticated"):
                await redis.ping()


async def test_a_service_that_cannot_start_is_told_and_the_others_are_stopped(data_path: Path) -> None:
    async with EmbeddedStack(data_path, services=frozenset([Service.POSTGRES])):
        pass
    (data_path / "postgres" / "data" / "PG_VERSION").write_text("16\n")
    stack = EmbeddedStack(data_path, services=frozenset([Service.POSTGRES, Service.VALKEY]))
    with pytest.raises(StackError, match="was made by Postgres 16, and this is Postgres 18"):
        await stack.__aenter__()
    assert not any(part.running for part in stack.parts)
    with pytest.raises(RuntimeError, match="not running"):
        _ = stack.reaper.pid


async def test_a_broken_setting_of_the_broker_is_told_in_its_own_words() -> None:
    stack = EmbeddedStack(None, services=frozenset([Service.KAFKA]), kafka_properties={"num.io.threads": "none"})
    with skipped_where_missing(), pytest.raises(StackError, match=r"Kafka ended while it started: .*num\.io\.threads"):
        await stack.__aenter__()


@pytest.mark.parametrize("name", ["d\u00e4t\u00e9:\u6570 b"])
async def test_it_comes_up_wherever_it_is_put(data_path: Path, name: str) -> None:
    known = cache_dir(os.getuid(), os.environ)
    cache = data_path.parent / name / "cache"
    for jar in known.glob("kafka-*/*[!.jsa]"):  # not fetched again
        linked = cache / jar.relative_to(known)
        linked.parent.mkdir(parents=True, exist_ok=True)
        linked.symlink_to(jar)
    for directory in (data_path.parent / name, cache, *cache.glob("*")):
        directory.chmod(0o711)
    environ = os.environ | {"PENSTOCK_CACHE_DIR": str(cache)}
    place = data_path.parent / name / "data"
    with skipped_where_missing():
        async with EmbeddedStack(place, environ=environ, kafka_compilers=FIRST_COMPILER) as stack:
            await write_everywhere(stack)
            assert await read_everywhere(stack) == ["kept", "kept", "kept"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs Postgres as somebody else")
async def test_under_root_a_directory_closed_to_nobody_is_told_in_one_line(data_path: Path) -> None:
    data_path.parent.chmod(0o700)
    with pytest.raises(StackError, match=rf"nobody may not enter {data_path.parent}: choose another data directory"):
        async with EmbeddedStack(data_path, services=frozenset([Service.POSTGRES])):
            pass


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs Postgres as somebody else")
async def test_under_root_the_database_runs_as_nobody() -> None:
    async with EmbeddedStack(None, services=frozenset([Service.POSTGRES])) as stack:
        assert psutil.Process(stack.postgres.pid).username() == "nobody"


OWNER = """
import asyncio, sys
from penstock.embedded.elsewhere import Service
from penstock.embedded.stack import EmbeddedStack

async def own():
    async with EmbeddedStack(None, services=frozenset([Service.POSTGRES, Service.VALKEY])) as stack:
        print(stack.data_dir.path, *(part.pid for part in stack.parts), flush=True)
        await asyncio.Event().wait()

asyncio.run(own())
"""


@pytest.fixture
def owned_elsewhere() -> Iterator[tuple[subprocess.Popen[str], Path, list[psutil.Process]]]:
    """A stack in another process, and every process of it."""
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        path, *pids = owner.stdout.readline().split()
        processes = [psutil.Process(int(pid)) for pid in pids]
        family = [*processes, *(child for process in processes for child in process.children(recursive=True))]
        yield owner, Path(path), family
        owner.kill()


async def test_a_killed_owner_leaves_no_process_and_no_directory(
    owned_elsewhere: tuple[subprocess.Popen[str], Path, list[psutil.Process]],
) -> None:
    owner, path, family = owned_elsewhere
    assert len(family) > 2  # Postgres has children of its own
    owner.kill()
    await eventually(lambda: not any(runs(process) for process in family), what="every process has ended")
    await eventually(lambda: not path.exists(), what="the directory is gone")


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
