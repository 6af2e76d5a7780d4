"""How long a purge rests: by the time that its steps take, by the rows that go, and never for long."""

import pytest

from stores.postgres.purging.rule import LONG_STEP_S
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
