"""Delays between attempts."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from runtime.backoff import delays_s


def test_delays_double_until_the_cap() -> None:
    assert list(islice(delays_s(0.1, 1.0, jitter=lambda: 1.0), 6)) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@given(st.floats(0, 1), st.floats(0.001, 1), st.floats(1, 60))
def test_every_delay_lies_between_half_its_ceiling_and_the_ceiling(jitter: float, first_s: float, cap_s: float) -> None:
    ceilings = [min(first_s * 2**attempt, cap_s) for attempt in range(12)]
    for delay_s, ceiling_s in zip(delays_s(first_s, cap_s, lambda: jitter), ceilings, strict=False):
        assert ceiling_s / 2 <= delay_s <= ceiling_s
