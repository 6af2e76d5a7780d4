"""What tests of processes need."""

from collections.abc import Iterator

import pytest

from penstock.reaper import Reaper


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    with Reaper() as running:
        yield running
