import itertools
import math

import numpy as np
import pytest

from workers.rollout.judging import eprocess

ALTERNATIVES = np.array([0.6, 0.9])
NULL = 0.5


def after(flips: tuple[int, ...]) -> float:
    """The log of what a bet on a coin with more heads has become."""
    logs = eprocess.unused(len(ALTERNATIVES))
    for at, heads in enumerate(flips):
        won = np.log(ALTERNATIVES / NULL) if heads else np.log((1 - ALTERNATIVES) / (1 - NULL))
        logs = eprocess.grown(logs, at, won)
    return float(eprocess.log_value(logs, len(flips)))


@pytest.mark.parametrize("length", [0, 1, 2, 5, 8])
def test_under_the_null_a_unit_stays_a_unit_on_average(length: int) -> None:
    values = [math.exp(after(flips)) for flips in itertools.product((0, 1), repeat=length)]

    assert sum(values) / 2**length == pytest.approx(1.0)


def test_under_the_null_it_is_seldom_ever_more_than_one_over_the_level() -> None:
    needed, length = math.log(1 / 0.2), 8

    ever = [
        any(after(flips[:until]) >= needed for until in range(1, length + 1))
        for flips in itertools.product((0, 1), repeat=length)
    ]

    assert 0 < sum(ever) / 2**length <= 0.2


def test_what_begins_late_is_found_although_much_spoke_against_it_before() -> None:
    good_for_long = (0,) * 300

    assert after(good_for_long) == pytest.approx(math.log(0.1 / 300), abs=0.5)
    assert after((*good_for_long, *(1,) * 40)) > math.log(20)


def test_a_process_that_has_not_looked_is_worth_its_unit() -> None:
    assert float(eprocess.log_value(eprocess.unused(3), 0)) == 0.0
