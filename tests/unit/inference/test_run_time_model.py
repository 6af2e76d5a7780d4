"""Run times learned from runs: a line that hiccups do not bend, and that drifts with the model."""

import random

import pytest

from workers.inference.batching.adaptive.run_time_model import ENOUGH_RUNS, RunTimeModel


def learned(
    fixed_s: float, unit_s: float, *, runs: int = 300, noise: float = 0.1, hiccups: float = 0.02
) -> RunTimeModel:
    chance = random.Random(7)  # noqa: S311 - a simulation
    run_time = RunTimeModel()
    for number in range(runs):
        cost = chance.randint(1, 100)
        seconds = (fixed_s + unit_s * cost) * chance.lognormvariate(0, noise)
        run_time.observe(cost, seconds * (20 if number == 0 or chance.random() < hiccups else 1))
    return run_time


def test_nothing_is_said_before_a_few_runs() -> None:
    run_time = RunTimeModel()
    for _ in range(ENOUGH_RUNS):
        run_time.observe(10, 1.0)
        assert run_time.predicted_s(10) is None
        assert run_time.fixed_cost() is None
    run_time.observe(10, 1.0)
    assert run_time.predicted_s(10) == pytest.approx(1.0)


@pytest.mark.parametrize(("fixed_s", "unit_s"), [(1e-2, 1e-3), (1e-5, 1e-6), (60.0, 5.0)])
@pytest.mark.parametrize("cost", [1, 20, 100, 200])
def test_the_line_is_found_through_noise_and_hiccups(fixed_s: float, unit_s: float, cost: int) -> None:
    run_time = learned(fixed_s, unit_s)
    assert run_time.predicted_s(cost) == pytest.approx(fixed_s + unit_s * cost, rel=0.15)
    assert run_time.fixed_cost() == pytest.approx(10 if unit_s < 1 else 12, rel=0.4)


def test_a_slow_first_run_is_forgotten_at_once() -> None:
    run_time = RunTimeModel()
    run_time.observe(10, 30.0)
    for _ in range(ENOUGH_RUNS):
        run_time.observe(10, 0.01)
    assert run_time.predicted_s(10) == pytest.approx(0.01)


def test_drift_is_followed() -> None:
    run_time = learned(1e-2, 1e-3)
    chance = random.Random(8)  # noqa: S311 - a simulation
    for _ in range(300):
        cost = chance.randint(1, 100)
        run_time.observe(cost, (2e-2 + 4e-3 * cost) * chance.lognormvariate(0, 0.1))
    assert run_time.predicted_s(50) == pytest.approx(2e-2 + 4e-3 * 50, rel=0.15)


def test_of_runs_of_one_cost_smaller_ones_are_taken_for_as_long_and_larger_for_longer_in_proportion() -> None:
    run_time = RunTimeModel()
    for _ in range(20):
        run_time.observe(10, 1.0)
    assert run_time.predicted_s(5) == pytest.approx(1.0)
    assert run_time.predicted_s(30) == pytest.approx(3.0)
    assert run_time.fixed_cost() is None


def test_no_part_of_a_run_is_ever_negative() -> None:
    # Given run times that grow faster than a line, and then some that fall
    run_time = RunTimeModel()
    for cost in [*range(1, 60), *range(1, 60)]:
        run_time.observe(cost, 1e-6 * cost**3)
        assert (run_time.predicted_s(1) or 0.0) >= 0
    for cost in range(60, 600):
        run_time.observe(cost, 1 / cost)
        assert (run_time.predicted_s(10_000) or 0.0) >= 0
        assert (run_time.fixed_cost() or 0.0) >= 0


def test_what_a_run_may_cost_within_a_time_is_told_by_the_line() -> None:
    model = RunTimeModel()
    assert model.cost_within(1.0) == 0.0
    for cost in range(1, 40):
        model.observe(cost, 0.1 + 0.01 * cost)
    assert model.cost_within(0.3) == pytest.approx(20, rel=0.05)
    assert model.cost_within(0.05) == 0.0


def test_where_all_runs_cost_the_same_nothing_is_said_of_others() -> None:
    model = RunTimeModel()
    for _ in range(40):
        model.observe(16, 0.1)
    assert model.cost_within(1.0) == 0.0


def test_where_runs_take_the_same_whatever_they_cost_any_cost_is_within_their_time() -> None:
    model = RunTimeModel()
    for cost in range(40):
        model.observe(1 + cost % 16, 0.1)
    assert model.cost_within(0.125) > 1000
    assert model.cost_within(0.05) == 0.0
