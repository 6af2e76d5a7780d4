"""How long a purge rests: by the time that its steps take, by the rows that go, and never for long."""

import pytest

from workers.sink.chores import LONGEST_REST_S, MOST_ROWS_PER_S, REST, rest_s


@pytest.mark.parametrize(
    ("took_s", "rows", "expected_s"),
    [
        (0.002, 0, 0.002 * REST),
        (0.040, 1000, 0.040 * REST),  # a slow machine keeps up all the same
        (0.002, 1000, 1000 / MOST_ROWS_PER_S - 0.002),
        (0.500, 10, LONGEST_REST_S),
        (0.100, 40_000_000, LONGEST_REST_S),  # a day that was given back
        (0.0, 0, 0.0),
    ],
)
def test_a_purge_rests_for_its_steps_and_for_its_rows(took_s: float, rows: int, expected_s: float) -> None:
    assert rest_s(took_s, rows) == pytest.approx(expected_s)
