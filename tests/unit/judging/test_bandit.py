import pytest

from workers.rollout.judging.bandit import weights
from workers.rollout.judging.evidence import Tally

EVEN = {"1": 0.5, "2": 0.5}


def test_the_better_version_gets_more_and_the_other_keeps_the_floor() -> None:
    found = weights({"1": Tally(1000, 300), "2": Tally(1000, 100)}, EVEN, floor=0.01, max_step=1.0, seed=7)

    assert found == {"1": pytest.approx(0.01), "2": pytest.approx(0.99)}


def test_no_share_moves_further_than_a_step_and_all_add_up() -> None:
    found = weights({"1": Tally(1000, 300), "2": Tally(1000, 100)}, EVEN, floor=0.01, max_step=0.1, seed=7)

    assert found == {"1": pytest.approx(0.4), "2": pytest.approx(0.6)}


def test_versions_without_outcomes_are_as_likely_the_best_and_the_seed_decides_how_the_dice_fall() -> None:
    nothing = {"1": Tally(), "2": Tally()}
    first, again = (weights(nothing, EVEN, floor=0.01, max_step=1.0, seed=1) for _ in range(2))

    assert first == again != weights(nothing, EVEN, floor=0.01, max_step=1.0, seed=2)
    assert first["1"] == pytest.approx(0.5, abs=0.05)
    assert sum(first.values()) == pytest.approx(1.0)


def test_a_floor_that_not_all_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match="3 versions cannot all have so much"):
        weights(dict.fromkeys("123", Tally()), {}, floor=0.4, max_step=1.0, seed=1)
