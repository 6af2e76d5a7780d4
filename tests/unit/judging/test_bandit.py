import math
from datetime import timedelta

import numpy as np
import pytest
from msgspec import UNSET

from schemas.rollouts import Decision, Guardrail, Kind
from schemas.stats import INTERVAL_S, Counts, End
from tests.contracts.stores.building import NOW
from workers.rollout.judging import judge
from workers.rollout.judging.bandit import ENOUGH_OUTCOMES, FLOOR, MAX_STEP, chance_better, weigh
from workers.rollout.judging.evidence import Evidence, Interval, Tally


@pytest.mark.parametrize(
    ("stable", "canary", "chance"),
    [
        (Tally(), Tally(), 0.5),
        (Tally(1, 0), Tally(1, 1), 1 / 6),  # of Beta(1, 2) and Beta(2, 1): the integral of 2x(1 - x)^2
        (Tally(1, 1), Tally(1, 0), 5 / 6),
        (Tally(100, 20), Tally(100, 20), 0.5),
        (Tally(1_000_000, 100_000), Tally(50, 0), 1 - 0.9**51),  # as good as against 0.1 itself
    ],
)
def test_the_chance_is_that_of_the_posteriors(stable: Tally, canary: Tally, chance: float) -> None:
    assert chance_better(stable, canary) == pytest.approx(chance, abs=0.002)


def test_the_chance_is_that_of_draws() -> None:
    chance = np.random.default_rng(7)
    stable, canary = Tally(300, 45), Tally(80, 8)
    drawn = [
        chance.beta(1 + each.bad, 1 + each.jobs - each.bad, 400_000).astype(np.float64) for each in (stable, canary)
    ]
    assert chance_better(stable, canary) == pytest.approx(float(np.mean(drawn[1] < drawn[0])), abs=0.005)


def evidence(stable: Tally, canary: Tally, share: float = 0.10) -> Evidence:
    begun = judge.begin([Guardrail(Kind.OUTCOME_BAD)], NOW, weighs=True)
    percent = round(share * 100)
    interval = Interval(
        ended_at=NOW + timedelta(seconds=INTERVAL_S),
        shares={"1": 10_000 - percent * 100, "2": percent * 100},
        version="2",
        stable=Counts(ends={End.SUCCEEDED: dict.fromkeys(range(100 - percent), 5)}),
        canary=Counts(ends={End.SUCCEEDED: dict.fromkeys(range(100 - percent, 100), 5)}),
        stable_outcomes={0: stable},
        canary_outcomes={99: canary},
    )
    return judge.observe(begun, interval)


@pytest.mark.parametrize(
    ("stable", "canary", "share", "follows"),
    [
        (Tally(400, 200), Tally(400, 40), 0.10, 2000),  # as far as a share goes at once
        (Tally(400, 40), Tally(400, 200), 0.10, 100),  # down to the floor
        (Tally(400, 200), Tally(400, 40), 0.95, 9900),
        (Tally(400, 100), Tally(400, 100), 0.45, 5000),
        (Tally(ENOUGH_OUTCOMES, 0), Tally(ENOUGH_OUTCOMES - 1, 0), 0.10, None),
    ],
)
def test_a_share_follows_from_outcomes(stable: Tally, canary: Tally, share: float, follows: int | None) -> None:
    assert weigh(evidence(stable, canary, share)).share == follows


def test_the_verdict_says_the_share_and_makes_it_again() -> None:
    known = evidence(Tally(400, 100), Tally(200, 30))
    now = NOW + timedelta(seconds=INTERVAL_S + 1)
    found = judge.verdict(known, now, INTERVAL_S)
    assert (found.decision, found.reason, found.share) == (Decision.HOLD, "weighed", 2000)
    assert found == judge.verdict(known, now, INTERVAL_S)
    assert "10 % to 20 %" in found.evidence[-1].told
    assert any("weight: 30 of 200 outcomes bad, stable 100 of 400" in line for line in judge.explain(known, now, 5))


def test_too_few_outcomes_hold_and_stale_counts_too() -> None:
    now = NOW + timedelta(seconds=INTERVAL_S + 1)
    few = judge.verdict(evidence(Tally(400, 100), Tally(10, 0)), now, INTERVAL_S)
    assert (few.reason, few.share) == ("too_few", UNSET)
    stale = judge.verdict(evidence(Tally(400, 100), Tally(200, 30)), now + timedelta(minutes=1), INTERVAL_S)
    assert (stale.reason, stale.share) == ("stats_stale", UNSET)


def test_guardrails_take_a_bandit_back_all_the_same() -> None:
    found = judge.verdict(evidence(Tally(1000, 10), Tally(300, 250)), NOW + timedelta(seconds=6), INTERVAL_S)
    assert (found.decision, found.reason) == (Decision.ROLLBACK, Kind.OUTCOME_BAD)


def test_a_version_that_is_surely_better_and_has_all_but_the_floor_is_promoted() -> None:
    now = NOW + timedelta(seconds=INTERVAL_S + 1)
    assert judge.verdict(evidence(Tally(400, 200), Tally(4000, 400), 0.99), now, 5).decision is Decision.PROMOTE
    assert judge.verdict(evidence(Tally(400, 200), Tally(4000, 400), 0.98), now, 5).share == 9900
    assert judge.verdict(evidence(Tally(100, 12), Tally(4000, 400), 0.99), now, 5).decision is Decision.HOLD


def test_a_simulated_bandit_comes_to_the_better_version_and_stays_with_neither_of_two_that_are_alike() -> None:
    """Short: 40 runs of 30 weighings, 200 outcomes each."""
    ends = {bad: [simulated(0.20, bad, seed) for seed in range(40)] for bad in (0.10, 0.20, 0.35)}
    assert np.mean(ends[0.10]) > 0.9
    assert np.mean(ends[0.35]) < 0.05
    assert 0.25 < np.mean(ends[0.20]) < 0.75


def simulated(stable_bad: float, canary_bad: float, seed: int) -> float:
    chance = np.random.default_rng(seed)
    share, stable, canary = 0.10, Tally(), Tally()
    for _ in range(30):
        jobs = int(chance.binomial(200, share))
        canary += Tally(jobs, int(chance.binomial(jobs, canary_bad)))
        stable += Tally(200 - jobs, int(chance.binomial(200 - jobs, stable_bad)))
        follows = weigh(evidence(stable, canary, share)).share
        before, share = share, share if follows is None else follows / 10_000
        assert abs(share - before) <= MAX_STEP + 1e-9
        assert FLOOR - 1e-9 <= share <= 1 - FLOOR + 1e-9
    return share


def test_the_chance_of_millions_of_outcomes_is_a_number() -> None:
    assert chance_better(Tally(10**9, 10**8), Tally(10**9, 10**8 - 10**6)) == pytest.approx(1.0)
    assert math.isfinite(chance_better(Tally(10**9, 0), Tally(10**9, 10**9)))
