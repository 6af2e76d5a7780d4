"""The simulation of many rollouts at once, in short: that it judges as the judge does, and what it shows."""

from typing import Final

import numpy as np
import pytest

from benchmarks.rollout_judges import Argo, Judge, Kayenta
from benchmarks.rollout_simulation import (
    ALIKE,
    AN_HOUR,
    GOOD,
    GUARDRAIL,
    WORSE,
    Found,
    looked,
    ours,
    splits,
    unequal_sizes,
    until_promoted,
)
from benchmarks.rollout_traffic import Traffic, history, intervals, rates
from schemas.rollouts import Decision
from schemas.stats import Counts, added
from tests.unit.judging.counting import BEGAN, CANARY, STABLE, after, counts, judged
from workers.rollout.judging.judge import begin
from workers.rollout.judging.ratio import Sides
from workers.rollout.judging.rules import ALPHA

ROLLOUTS: Final = 200


def pair(sides: Sides, at: int) -> tuple[Counts, Counts]:
    """The counts of one of the rollouts."""
    stable_jobs, stable_bad, canary_jobs, canary_bad = (int(each[at]) for each in sides)
    return counts(stable_jobs, stable_bad, STABLE), counts(canary_jobs, canary_bad, CANARY)


@pytest.mark.parametrize("jobs_before", [None, 50_000.0])
@pytest.mark.parametrize("traffic", [Traffic(0.02, factor=2.0), Traffic(0.01, factor=0.7), Traffic(0.3, factor=1.8)])
def test_many_rollouts_are_judged_as_each_by_itself(traffic: Traffic, jobs_before: float | None) -> None:
    chance = np.random.default_rng(3)
    of = rates(traffic, 4, chance)
    before = None if jobs_before is None else history(of, jobs_before, chance)
    all_at_once = Judge(4, GUARDRAIL, before)
    known = [Counts()] * 4 if before is None else [added(*pair(before, at)) for at in range(4)]
    each = [begin([GUARDRAIL], BEGAN, counted, 0.0) for counted in known]

    for sides in intervals(traffic, of, 40, chance):
        rolls_back = all_at_once.rolls_back(sides)
        each = [after([pair(sides, at)], evidence) for at, evidence in enumerate(each)]
        decided = [judged(evidence).evidence[0].decision for evidence in each]
        assert [decision is Decision.ROLLBACK for decision in decided] == rolls_back.tolist()
        goes_on = all_at_once.promotes() & ~rolls_back
        assert [decision is Decision.PROMOTE for decision in decided] == goes_on.tolist()


@pytest.mark.parametrize("kind", ALIKE)
def test_a_version_as_good_as_the_stable_one_is_seldom_rolled_back(kind: str) -> None:
    traffic = ALIKE[kind]
    before = AN_HOUR * traffic.jobs if traffic.keys.number else None

    assert ours(traffic, ROLLOUTS, 150, before).decided.mean() <= ALPHA


def test_few_callers_of_whom_nothing_is_known_seldom_take_a_version_back() -> None:
    traffic = ALIKE["50 keys, Zipf 1.2, 2 % bad"]
    of = rates(traffic, ROLLOUTS, np.random.default_rng(1))

    by_the_ratio = looked(
        Judge(ROLLOUTS, GUARDRAIL).rolls_back, intervals(traffic, of, 60, np.random.default_rng(1)), ROLLOUTS
    )

    assert by_the_ratio.decided.mean() > 2 * ALPHA
    assert ours(traffic, ROLLOUTS, 60).decided.mean() <= ALPHA


def test_thresholds_and_tests_of_one_look_roll_back_more_of_them() -> None:
    traffic, chance = ALIKE["50 keys, Zipf 1.2, 2 % bad"], np.random.default_rng(1)
    of = rates(traffic, ROLLOUTS, chance)

    found = [
        looked(judge.rolls_back, intervals(traffic, of, 240, chance), ROLLOUTS).decided.mean()
        for judge in (Kayenta(ROLLOUTS), Argo(ROLLOUTS, GUARDRAIL.margin))
    ]

    assert min(found) > ALPHA


def test_what_fails_all_is_found_within_50_jobs_of_it() -> None:
    assert most(ours(WORSE["all jobs fail"], ROLLOUTS, 20)) <= 50
    assert most(ours(WORSE["all jobs fail"], ROLLOUTS, 20, 20_000.0)) <= 50


@pytest.mark.parametrize("kind", ["1 % to 5 %", "0 to 1 %"])
def test_what_is_much_worse_is_found_within_some_hundred_jobs_of_it(kind: str) -> None:
    assert most(ours(WORSE[kind], ROLLOUTS, 60)) <= 450


def test_a_good_version_may_go_on_after_some_thousand_jobs() -> None:
    assert most(until_promoted(GOOD["no bad jobs"], 20)) <= 800
    assert most(until_promoted(GOOD["1 % as before"], 20)) <= 5_000


def test_a_version_at_the_edge_of_what_is_allowed_seldom_goes_on() -> None:
    assert until_promoted(GOOD["2 % instead of 1 %"], 40, looks=300).decided.mean() <= ALPHA


def test_small_micro_batches_are_not_taken_for_slow_ones_and_a_heavy_key_not_for_a_mismatch() -> None:
    assert [row[1] for row in unequal_sizes(20).rows] == ["0.0%", "100.0%"]
    as_routed = {row[0]: row[1] for row in splits(20).rows}
    assert as_routed["90/10, keys counted"] == "0.0%"


def most(found: Found) -> float:
    """Of the canary's jobs in nine of ten rollouts."""
    jobs = np.where(found.decided, found.jobs, np.inf)
    return float(np.quantile(jobs, 0.9, method="higher"))
