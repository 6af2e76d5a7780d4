import pytest

from schemas.rollouts import Guardrail, Kind
from schemas.stats import Counts, added
from tests.unit.judging.counting import BEGAN, CANARY, STABLE, after, counts, judged
from workers.rollout.judging.callers import history, tilt
from workers.rollout.judging.evidence import Tilt
from workers.rollout.judging.judge import begin, next_step

MOVED = tuple(CANARY)


def known(before: Counts, seconds: float = 3600.0, moved: tuple[int, ...] = MOVED) -> Tilt:
    return tilt(history(before, seconds, {}), Kind.FAILED, moved, 0.0125, 0.0125)


def test_callers_that_had_four_times_as_many_bad_jobs_are_known_to() -> None:
    found = known(added(counts(95_000, 950, STABLE), counts(5_000, 200, CANARY)))

    assert found.bad == 1_150
    assert 3 < found.lower < 4 < found.upper < 5


@pytest.mark.parametrize(
    ("before", "seconds"),
    [
        (counts(9_999, 900, range(100)), 3599),  # neither long enough nor jobs enough
        (counts(10**6, 9, range(100)), 3600),  # too few bad ones
        (counts(10_000, 900, STABLE), 3600),  # nobody of those that moved
        (counts(10_000, 900, CANARY), 3600),  # nobody else
        (Counts(), 10**6),
    ],
)
def test_where_too_little_is_known_callers_are_taken_to_be_alike(before: Counts, seconds: float) -> None:
    assert known(before, seconds) == Tilt(1.0, 1.0, None)


@pytest.mark.parametrize(("jobs", "seconds"), [(10_000, 0.0), (1_000, 3600.0)])
def test_an_hour_or_ten_thousand_jobs_are_enough(jobs: int, seconds: float) -> None:
    assert known(counts(jobs, 100, range(100)), seconds).bad == 100


@pytest.mark.parametrize(("stable_bad", "canary_bad"), [(0, 50), (50, 0)])
def test_bounds_stay_finite_where_all_or_none_of_the_bad_jobs_were_theirs(stable_bad: int, canary_bad: int) -> None:
    found = known(added(counts(95_000, stable_bad, STABLE), counts(5_000, canary_bad, CANARY)))

    assert 0 < found.lower < found.upper < 10**9


def test_a_version_is_not_rolled_back_for_callers_that_had_as_many_bad_jobs_before() -> None:
    before = added(counts(95_000, 950, STABLE), counts(5_000, 250, CANARY))
    as_before = [(counts(950, 10), counts(50, 2 + at % 2, CANARY)) for at in range(60)]

    alike = after(as_before)
    known_before = after(as_before, begin((Guardrail(Kind.FAILED),), BEGAN, before, 3600))

    assert judged(alike).decision == "rollback"
    assert judged(known_before).decision == "promote"
    assert "these callers had" in judged(known_before).evidence[0].told


def test_the_bounds_of_later_steps_are_wider_so_that_all_hold_together() -> None:
    before = counts(100_000, 1_000, range(100))
    evidence = begin((Guardrail(Kind.FAILED),), BEGAN, before, 3600)
    pair = [(counts(475, 5), counts(25, 0, CANARY))]

    first = after(pair, evidence)
    second = after(pair, next_step(first))

    assert 1 < first.kinds[Kind.FAILED].tilt.upper < second.kinds[Kind.FAILED].tilt.upper < 1.5
