"""`penstock migrate`: what a deployment runs before its first role."""

import asyncio
import json
import os
import sys
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from click.testing import CliRunner, Result

from penstock.cli import main
from runtime.settings import PREFIX, KafkaSettings


async def migrate(*options: str, **settings: str) -> Result:
    """In a thread of this process, where it has an event loop of its own. It sees no other variables of ours."""
    others: dict[str, str | None] = {name: None for name in os.environ if name.startswith(PREFIX)}
    return await asyncio.to_thread(CliRunner(env={**others, **settings}).invoke, main, ["migrate", *options])


async def migrate_as_a_process(**settings: str) -> tuple[int | None, str]:
    """The status, and all that it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penstock", "migrate"),
        env={"PATH": os.environ["PATH"], **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.fixture
def settings(kafka_bootstrap_servers: str, fresh_postgres_dsn: str, topic_prefix: str) -> dict[str, str]:
    return {
        "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "PENSTOCK_POSTGRES_DSN": fresh_postgres_dsn,
        "PENSTOCK_TOPIC_PREFIX": topic_prefix,
        "PENSTOCK_TOPIC_PARTITIONS": "3",
    }


async def test_it_makes_tables_and_topics_once(settings: dict[str, str], topic_prefix: str) -> None:
    before = await migrate("--status", **settings)
    status, said = await migrate_as_a_process(**settings)
    again = await migrate(**settings)
    after = await migrate("--status", "--json", **settings)

    assert status == 0, said
    assert f"created topic {topic_prefix}.requests.v1" in said
    assert (again.exit_code, again.stdout) == (0, "")
    assert before.exit_code == 1
    assert before.stdout.splitlines()[-1].endswith("run `penstock migrate`")
    assert after.exit_code == 0
    assert json.loads(after.stdout)["usable"] is True
    connection = await asyncpg.connect(settings["PENSTOCK_POSTGRES_DSN"])
    try:
        assert await connection.fetchval("select count(*) from jobs") == 0
    finally:
        await connection.close()
    assert await partitions_of(settings, f"{topic_prefix}.results.v1") == 3


async def test_the_password_may_stand_beside_the_address_as_any_characters(settings: dict[str, str]) -> None:
    parts = urlsplit(settings["PENSTOCK_POSTGRES_DSN"])
    assert parts.password is not None
    bare = parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()
    ran = await migrate(**settings | {"PENSTOCK_POSTGRES_DSN": bare, "PGPASSWORD": unquote(parts.password)})

    assert ran.exit_code == 0, ran.stderr


async def partitions_of(settings: dict[str, str], topic: str) -> int:
    kafka = KafkaSettings(kafka_bootstrap_servers=settings["PENSTOCK_KAFKA_BOOTSTRAP_SERVERS"])
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    return len(described["partitions"])


async def test_a_database_that_a_newer_version_contracted_is_exit_status_2(settings: dict[str, str]) -> None:
    assert (await migrate(**settings)).exit_code == 0
    connection = await asyncpg.connect(settings["PENSTOCK_POSTGRES_DSN"])
    try:
        await connection.execute(
            "insert into schema_migrations (number, name, sha256, needs, version) "
            "values (9999, '9999_later.contract.sql', '', 9999, '7.8.9')"
        )
    finally:
        await connection.close()

    ended = await migrate(**settings)

    assert ended.exit_code == 2
    assert ended.stderr.splitlines()[-1] == (
        "Error: the database was migrated by 9999_later.contract.sql, which took away what this version of Penstock "
        "needs: run Penstock 7.8.9 or newer"
    )


async def test_a_database_that_does_not_answer_is_one_line_and_exit_status_1() -> None:
    ended = await migrate(PENSTOCK_POSTGRES_DSN="postgresql://nobody@127.0.0.1:9/nothing")

    assert ended.exit_code == 1
    told = ended.stderr.splitlines()[-1]
    assert told.startswith("Error: the database is not available: ")
    assert told.endswith("('127.0.0.1', 9); PENSTOCK_POSTGRES_DSN says where it is")
    assert "Traceback" not in ended.stderr


async def test_json_goes_with_status() -> None:
    ended = await migrate("--json")

    assert ended.exit_code == 2
    assert "--json goes with --status" in ended.stderr


async def test_wrong_settings_are_all_told_and_exit_status_2() -> None:
    ended = await migrate(PENSTOCK_TOPIC_PARTITIONS="0", PENSTOCK_LOG_LEVEL="loud")

    assert ended.exit_code == 2
    assert "PENSTOCK_TOPIC_PARTITIONS" in ended.stderr
    assert "PENSTOCK_LOG_LEVEL" in ended.stderr
