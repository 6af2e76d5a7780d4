"""How many connections a process may have, and what they take of its budget."""

import resource

import pytest

from runtime.budget import MemoryBudget
from runtime.http_limits import CONNECTION_BYTES, MIN_CONNECTIONS, RESERVED_FILES, Connections, fitting_connections
from schemas.errors import Unavailable
from tests.unit.runtime.http_house import LIMITS


@pytest.mark.parametrize(
    ("files", "connections"),
    [
        (256, 256 - RESERVED_FILES),
        (1_000_000, 4096),
        (resource.RLIM_INFINITY, 4096),
        (32, MIN_CONNECTIONS),
    ],
)
def test_there_are_no_more_connections_than_the_process_may_open_files_for(
    monkeypatch: pytest.MonkeyPatch, files: int, connections: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert fitting_connections(4096) == connections


def test_what_connections_take_is_set_apart_before_the_first_one() -> None:
    budget = MemoryBudget(LIMITS.connections * CONNECTION_BYTES + 1, shown=False)
    Connections(LIMITS, budget, lambda error: (error.status, [], b""))
    assert budget.held_bytes == LIMITS.connections * CONNECTION_BYTES
    with pytest.raises(Unavailable):
        Connections(LIMITS, budget, lambda error: (error.status, [], b""))
