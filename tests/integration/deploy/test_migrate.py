"""`penstock migrate`: what a deployment runs before its first role."""

import json
import os
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from runtime.settings import KafkaSettings


def migrate(*options: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(
        [sys.executable, "-m", "penstock", "migrate", *options],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def settings(kafka_bootstrap_servers: str, fresh_postgres_dsn: str, topic_prefix: str) -> dict[str, str]:
    return {
        "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "PENSTOCK_POSTGRES_DSN": fresh_postgres_dsn,
        "PENSTOCK_TOPIC_PREFIX": topic_prefix,
        "PENSTOCK_TOPIC_PARTITIONS": "3",
    }


async def test_it_makes_tables_and_topics_once(settings: dict[str, str], topic_prefix: str) -> None:
    before = migrate("--status", **settings)
    first = migrate(**settings)
    again = migrate(**settings)
    after = migrate("--status", "--json", **settings)

    assert first.returncode == 0, first.stderr
    assert f"created topic {topic_prefix}.requests.v1" in first.stdout
    assert (again.returncode, again.stdout) == (0, "")
    assert before.returncode == 1
    assert before.stdout.splitlines()[-1].endswith("run `penstock migrate`")
    assert after.returncode == 0
    assert json.loads(after.stdout)["usable"] is True
    connection = await asyncpg.connect(settings["PENSTOCK_POSTGRES_DSN"])
    try:
        assert await connection.fetchval("select count(*) from jobs") == 0
    finally:
        await connection.close()
    assert await partitions_of(settings, f"{topic_prefix}.results.v1") == 3


def test_the_password_may_stand_beside_the_address_as_any_characters(settings: dict[str, str]) -> None:
    parts = urlsplit(settings["PENSTOCK_POSTGRES_DSN"])
    assert parts.password is not None
    bare = parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()
    ran = migrate(**settings | {"PENSTOCK_POSTGRES_DSN": bare, "PGPASSWORD": unquote(parts.password)})

    assert ran.returncode == 0, ran.stderr


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
    assert migrate(**settings).returncode == 0
    connection = await asyncpg.connect(settings["PENSTOCK_POSTGRES_DSN"])
    try:
        await connection.execute(
            "insert into schema_migrations (number, name, sha256, needs, version) "
            "values (9999, '9999_later.contract.sql', '', 9999, '7.8.9')"
        )
    finally:
        await connection.close()

    ended = migrate(**settings)

    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "Error: the database was migrated by 9999_later.contract.sql, which took away what this version of Penstock "
        "needs: run Penstock 7.8.9 or newer"
    )


def test_a_database_that_does_not_answer_is_one_line_and_exit_status_1() -> None:
    ended = migrate(PENSTOCK_POSTGRES_DSN="postgresql://nobody@127.0.0.1:9/nothing")

    assert ended.returncode == 1
    told = ended.stderr.splitlines()[-1]
    assert told.startswith("Error: the database is not available: ")
    assert told.endswith("('127.0.0.1', 9); PENSTOCK_POSTGRES_DSN says where it is")
    assert "Traceback" not in ended.stderr


def test_json_goes_with_status() -> None:
    ended = migrate("--json")

    assert ended.returncode == 2
    assert "--json goes with --status" in ended.stderr


def test_wrong_settings_are_all_told_and_exit_status_2() -> None:
    ended = migrate(PENSTOCK_TOPIC_PARTITIONS="0", PENSTOCK_LOG_LEVEL="loud")

    assert ended.returncode == 2
    assert "PENSTOCK_TOPIC_PARTITIONS" in ended.stderr
    assert "PENSTOCK_LOG_LEVEL" in ended.stderr
