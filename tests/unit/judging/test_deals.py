"""Whether it may be the callers: cohorts that stand out among all that might have been the canary's."""

import msgspec
import numpy as np
import pytest

from schemas.rollouts import Decision, Guardrail, Kind
from schemas.stats import Counts, End
from tests.unit.judging.counting import BEGAN, CANARY, FAILED, STABLE, after, counts, interval, judged
from workers.rollout.judging.deals import LEVEL, by_chance, part_as_bad
from workers.rollout.judging.evidence import Tally
from workers.rollout.judging.judge import begin, next_step, observe

# One caller in ten sends jobs of which a third fails, on any version; of the canary's, one of two cohorts.
HEAVY = dict.fromkeys(range(0, 100, 10), 10)


def mixed(cohorts: range, bad: dict[int, int]) -> Counts:
    """Thirty jobs of each cohort, so many of them bad."""
    return Counts(
        ends={
            End.SUCCEEDED: {cohort: 30 - bad.get(cohort, 0) for cohort in cohorts},
            End.FAILED: {cohort: bad[cohort] for cohort in cohorts if cohort in bad},
        }
    )


def test_a_caller_who_always_sent_worse_jobs_takes_no_version_back_however_long_it_is_looked_at() -> None:
    callers = {**HEAVY, 97: 10}
    evidence = after([(mixed(STABLE, callers), mixed(CANARY, callers))] * 100)

    (found,) = judged(evidence).evidence

    assert found.decision is Decision.HOLD
    assert "surely more than 1.5 times as often" in found.told
    assert "but that may be its callers' doing: of what callers did before nothing is known" in found.told


def test_callers_whose_jobs_wait_for_some_to_be_compared_with_take_no_version_back_either() -> None:
    callers = {10: 15, 50: 15, 97: 15}
    evidence = after([(Counts(), mixed(CANARY, callers)), (mixed(STABLE, callers), Counts())])

    (found,) = judged(evidence).evidence

    assert found.decision is Decision.HOLD
    assert "but that may be its callers' doing" in found.told


def test_callers_who_always_call_answers_bad_take_no_version_back() -> None:
    told = {cohort: Tally(30, {10: 15, 50: 15, 97: 15}.get(cohort, 0)) for cohort in range(100)}
    evidence = begin((Guardrail(Kind.OUTCOME_BAD),), BEGAN)
    for at in range(1, 20):
        seen = msgspec.structs.replace(
            interval(at, counts(950), counts(50, 0, CANARY)),
            stable_outcomes={cohort: told[cohort] for cohort in STABLE},
            canary_outcomes={cohort: told[cohort] for cohort in CANARY},
        )
        evidence = observe(evidence, seen)

    (found,) = judged(evidence).evidence

    assert found.decision is Decision.HOLD
    assert "but that may be its callers' doing" in found.told


def test_a_bandit_that_moves_on_takes_no_version_back_for_its_callers() -> None:
    callers = {10: 15, 50: 15, 97: 15}
    both = (Guardrail(Kind.FAILED), Guardrail(Kind.OUTCOME_BAD))
    pair = (mixed(STABLE, callers), mixed(CANARY, callers))
    evidence = after([pair] * 3, begin(both, BEGAN, weighs=True))

    found = judged(next_step(evidence))

    assert found.decision is Decision.HOLD
    assert found.evidence[0].numbers["callers_by_chance"] == 1.0, "of its new share nothing is known"


def test_a_version_that_fails_more_of_all_its_callers_jobs_is_taken_back_beside_callers_who_differ() -> None:
    evidence = after([(mixed(STABLE, HEAVY), mixed(CANARY, dict.fromkeys(CANARY, 15)))] * 5)

    (found,) = judged(evidence).evidence

    assert found.decision is Decision.ROLLBACK
    assert "% of other deals of them show as much (at most 1.2 %)" in found.told


def test_a_version_that_fails_all_is_taken_back_however_few_callers_there_are() -> None:
    alone = (mixed(range(3), {}), mixed(range(97, 98), {97: 30}))

    assert judged(after([alone])).decision is Decision.ROLLBACK


def test_where_it_is_known_how_callers_did_before_that_alone_counts() -> None:
    known = begin(FAILED, BEGAN, counts(20_000, 200, range(100)), 3600)
    evidence = after([(counts(475, 5), counts(25, 20, CANARY))] * 3, known)

    (found,) = judged(evidence).evidence

    assert found.decision is Decision.ROLLBACK
    assert found.numbers["callers_by_chance"] is None
    assert not evidence.kinds[FAILED[0].kind].canary_by


def test_what_was_before_it_began_to_look_bad_is_not_kept() -> None:
    good = after([(counts(475, 5), counts(25, 0, CANARY))] * 10)
    bad = after([(counts(475, 5), counts(25, 10, CANARY))], good)
    kind = FAILED[0].kind

    assert not good.kinds[kind].canary_by
    assert sum(bad.kinds[kind].canary_by.values(), Tally()) == Tally(25, 10)


@pytest.mark.parametrize("moved", [1, 5, 50])
def test_of_callers_who_differ_as_they_like_so_few_deals_stand_out_as_is_said(moved: int) -> None:
    chance = np.random.default_rng(4)
    found = []
    for _ in range(400):
        jobs = np.floor(chance.pareto(1.0, 100) * 20)
        bad = chance.binomial(jobs.astype(int), chance.beta(0.3, 8, 100)).astype(np.float64)
        found.append(part_as_bad(jobs.astype(np.float64), bad, moved))

    assert np.mean(np.array(found) <= LEVEL) <= 2 * LEVEL


def test_nothing_counted_stands_out_of_nothing() -> None:
    assert by_chance({}, {}, tuple(CANARY)) == 1.0
    assert by_chance({1: Tally(5, 5)}, {}, ()) == 1.0
