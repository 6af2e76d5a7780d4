"""How long a purge rests: by the time that its steps take, by the rows that go, and never for long."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime

import pytest

from runtime.clock import now_utc
from stores.postgres.purging.rule import LONG_STEP_S
from stores.protocols import Purged
from tests.waiting import eventually
from workers.sink import chores
from workers.sink.chores import LONGEST_REST_S, MOST_ROWS_PER_S, REST, rest_s


@pytest.mark.parametrize(
    ("took_s", "rows", "expected_s"),
    [
        (0.002, 0, 0.002 * REST),
        (0.010, 1000, 0.010 * REST),
        (0.002, 1000, 1000 / MOST_ROWS_PER_S - 0.002),
        (0.500, 1000, LONGEST_REST_S),  # a slow machine keeps up all the same
        (0.100, 40_000_000, LONGEST_REST_S),  # a day that was given back
        (0.0, 0, 0.0),
    ],
)
def test_a_purge_rests_for_its_steps_and_for_its_rows(took_s: float, rows: int, expected_s: float) -> None:
    assert rest_s(took_s, rows) == pytest.approx(expected_s)


def test_a_purge_keeps_up_with_500_jobs_a_second_and_their_keys() -> None:
    took_s, rows = LONG_STEP_S, 1000
    assert rows / (took_s + rest_s(took_s, rows)) > 2 * 500


class Endless:
    """A purge that always has another step."""

    def __init__(self) -> None:
        self.begun = 0

    async def purge(self, _: datetime) -> AsyncGenerator[Purged]:
        self.begun += 1
        while True:
            yield Purged("jobs", 1)

    async def oldest_end(self) -> datetime | None:
        return None


async def test_a_purge_that_takes_long_looks_again_for_what_has_become_due_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chores, "LONGEST_PURGE_S", 0.02)
    endless = Endless()
    purging = asyncio.create_task(chores.purge(endless, now_utc, interval_s=3600.0))
    await eventually(lambda: endless.begun > 2)
    purging.cancel()
