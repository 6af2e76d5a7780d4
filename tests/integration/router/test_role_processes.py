"""Router, sink and controller of rollouts as processes: how they exit when they cannot start, or are told to stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest

from stores.postgres import migrate
from tests.integration.stores.migrating import contract
from tests.waiting import eventually, eventually_sync

ROLES = ["router", "sink"]
# Nobody answers there: a role waits for its parts, and says so.
NOWHERE = {
    "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "PENSTOCK_POSTGRES_DSN": "postgresql://penstock@127.0.0.1:1/penstock",
    "PENSTOCK_REDIS_URL": "redis://127.0.0.1:1/0",
    "PENSTOCK_HEALTH_HOST": "127.0.0.1",
}


def start(role: str, **variables: str) -> "subprocess.Popen[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    program = f"from workers.{role}.main import run; run()"
    return subprocess.Popen(
        [sys.executable, "-c", program], env=environ | NOWHERE | variables, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("role", ROLES)
def test_every_mistake_in_the_settings_is_told_at_once_and_the_exit_status_is_2(role: str) -> None:
    with start(role, PENSTOCK_HEALTH_PORT="many", PENSTOCK_TOPIC_PREFIX="Not Good") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert sorted(line.partition(":")[0] for line in errors.splitlines()) == [
        "PENSTOCK_HEALTH_PORT",
        "PENSTOCK_TOPIC_PREFIX",
    ]


@pytest.mark.parametrize("role", ROLES)
def test_a_port_in_use_is_told_in_one_line_and_the_exit_status_is_2(role: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with start(role, PENSTOCK_HEALTH_PORT=port) as process:
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    (line,) = errors.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "PENSTOCK_HEALTH_PORT" in line


@pytest.mark.parametrize("role", [*ROLES, "rollout"])
def test_a_role_that_waits_for_its_parts_is_alive_but_not_ready_and_stops_when_told_to(role: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with start(role, PENSTOCK_HEALTH_PORT=str(port)) as process:
        assert eventually_sync(lambda: status(port, "/livez") == 200, timeout_s=30)
        assert status(port, "/readyz") == 503
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 0


def status(port: int, path: str) -> int | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            code: int = response.status
            return code
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("wrong", ["password", "database"])
def test_a_database_that_does_not_let_us_in_is_told_with_its_reason_and_the_exit_status_is_2(
    role: str, wrong: str, postgres_dsn: str
) -> None:
    parts = urlsplit(postgres_dsn)
    netloc = f"{parts.username}:wrong@{parts.netloc.rpartition('@')[2]}"
    address = parts._replace(netloc=netloc) if wrong == "password" else parts._replace(path="/nowhere")
    with start(role, PENSTOCK_POSTGRES_DSN=address.geturl(), PENSTOCK_HEALTH_PORT="0") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    reason = json.loads(errors.splitlines()[-1])["reason"]
    assert reason.startswith("PENSTOCK_POSTGRES_DSN: ")
    assert ("password authentication failed" if wrong == "password" else "does not exist") in reason


@pytest.mark.parametrize("role", ROLES)
async def test_a_database_that_a_newer_version_contracted_is_told_with_the_version_to_run_and_the_exit_status_is_2(
    role: str, migrated_postgres_dsn: str
) -> None:
    await contract(migrated_postgres_dsn)
    with start(role, PENSTOCK_POSTGRES_DSN=migrated_postgres_dsn, PENSTOCK_HEALTH_PORT="0") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    told = json.loads(errors.splitlines()[-1])
    assert told["event"] == "cannot start"
    assert "took away what this version of Penstock needs: run Penstock " in told["reason"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_says_why_it_waits(role: str) -> None:
    with start(role, PENSTOCK_HEALTH_PORT="0") as process:
        assert process.stderr is not None
        told = next(line for line in map(json.loads, process.stderr) if line["event"] == "waiting for a part")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert told["reason"] == "the database is not available"
    assert told["cause"].startswith("ConnectionRefusedError: ")


@pytest.mark.parametrize("role", [*ROLES, "rollout"])
async def test_a_role_over_a_database_that_is_not_migrated_names_the_command_and_goes_on_once_it_was_run(
    role: str, fresh_postgres_dsn: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with start(role, PENSTOCK_HEALTH_PORT=str(port), PENSTOCK_POSTGRES_DSN=fresh_postgres_dsn) as process:
        await eventually(lambda: "run `penstock migrate`" in database_check(port), timeout_s=30)
        await migrate(fresh_postgres_dsn)
        await eventually(lambda: database_check(port) == "ok", timeout_s=30)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 0


def database_check(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as response:
            body = response.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
    except OSError:
        return ""
    return str(json.loads(body)["checks"]["database"])
