"""What is logged of the client of Kafka, at which level."""

import subprocess
import sys

import pytest

PROGRAM = """
import logging
from runtime.logs import configure_logs
from runtime.settings import LogSettings

configure_logs(LogSettings(), "worker")
print(logging.getLevelName(logging.getLogger("aiokafka.conn").getEffectiveLevel()))
"""


@pytest.mark.parametrize(("level", "least"), [("debug", "INFO"), ("info", "CRITICAL")])
def test_requests_of_kafkas_client_are_never_logged(monkeypatch: pytest.MonkeyPatch, level: str, least: str) -> None:
    """They hold clients' data."""
    monkeypatch.setenv("PENSTOCK_LOG_LEVEL", level)
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == least
