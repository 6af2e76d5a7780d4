"""Variables with our prefix that nobody reads."""

import json
import subprocess
import sys

import pytest

from penstock.invalid_settings import unknown_variables


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("PENSTOCK_WORKER_MODEL", "PENSTOCK_WORKER_MODEL is no setting: is PENSTOCK_WORKER_MODELS meant?"),
        ("PENSTOCK_LOGLEVEL", "PENSTOCK_LOGLEVEL is no setting: is PENSTOCK_LOG_LEVEL meant?"),
        ("PENSTOCK_ZEBRA", "PENSTOCK_ZEBRA is no setting"),
    ],
)
def test_a_variable_that_nobody_reads_is_told_with_what_may_be_meant(name: str, told: str) -> None:
    assert list(unknown_variables({name: "x", "HOME": "/"})) == [(name, told)]


@pytest.mark.parametrize(
    "name",
    [
        "PENSTOCK_WORKER_MODELS",
        "PENSTOCK_SINK_BATCH_RECORDS",
        "PENSTOCK_TOPIC_PARTITIONS",
        "PENSTOCK_POSTGRES_PASSWORD",
        "PENSTOCK_GATEWAY_SERVICE_HOST",
        "PENSTOCK_GATEWAY_SERVICE_PORT_HTTP",
        "PENSTOCK_GATEWAY_PORT_8080_TCP",
        "PENSTOCK_GATEWAY_PORT_8080_TCP_ADDR",
    ],
)
def test_what_any_role_or_anybody_else_reads_is_no_mistake(name: str) -> None:
    assert list(unknown_variables({name: "x"})) == []


def test_a_role_warns_of_a_misspelt_variable_in_its_log() -> None:
    environ = {
        "PENSTOCK_WORKER_MODEL": "digits",
        "PENSTOCK_POSTGRES_DSN": "foo",
        "PATH": "/usr/bin",
    }
    ran = subprocess.run(
        [sys.executable, "-m", "penstock", "sink"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    warning, mistake = ran.stderr.splitlines()
    assert ran.returncode == 2
    assert json.loads(warning)["event"] == "PENSTOCK_WORKER_MODEL is no setting: is PENSTOCK_WORKER_MODELS meant?"
    assert mistake.startswith("PENSTOCK_POSTGRES_DSN: ")
