"""Fixtures of the worker's unit tests."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    """What is logged, kept for the test to read and out of its output."""
    with capture_logs() as lines:
        yield lines
