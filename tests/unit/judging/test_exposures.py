import math

import pytest

from schemas.routes import Route, version_at
from schemas.stats import Counts
from tests.unit.judging.counting import BEGAN, CANARY, STABLE, after, counts, interval, judged
from workers.rollout.judging.evidence import Exposures, Interval
from workers.rollout.judging.exposures import RIGHT_AGAIN, exposed, is_mismatch, log_mismatch
from workers.rollout.judging.judge import Hold, next_step

FEW = counts(25, 0, CANARY)


def test_the_cohorts_of_a_version_are_those_that_the_route_gives_it() -> None:
    for shares in (
        {"1": 9_500, "2": 500},
        {"1": 25, "2": 9_975},
        {"2": 350, "1": 9_650},
        {"3": 500, "2": 500, "1": 9000},
    ):
        route = Route(model="m", revision=1, versions=shares, default="1", salt="", updated_at=BEGAN, updated_by="")
        given = [version_at(route, place) == "2" for place in range(10_000)]
        by_cohort = [given[100 * cohort : 100 * cohort + 100] for cohort in range(100)]

        found = Interval(ended_at=BEGAN, shares=shares, version="2")

        assert found.moved == tuple(cohort for cohort, places in enumerate(by_cohort) if any(places))
        assert found.moved_whole == tuple(cohort for cohort, places in enumerate(by_cohort) if all(places))


def test_a_cohort_counts_once_however_often_and_where_it_is_seen() -> None:
    once = exposed(Exposures(), interval(1, counts(5, 0, (1, 2)), counts(5, 0, (2, 99))))
    again = exposed(once, interval(2, counts(5, 0, (1, 3, 99)), counts(5, 0, (99,))))

    assert (once.stable, once.canary) == (1, 2)
    assert (again.stable, again.canary, again.seen) == (2, 2, (1, 2, 3, 99))


def test_half_of_the_share_is_a_mismatch_and_the_share_itself_is_none() -> None:
    assert is_mismatch(Exposures(stable=950, canary=50), 0.1)
    assert not is_mismatch(Exposures(stable=900, canary=100), 0.1)
    assert not is_mismatch(Exposures(), 0.1)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_version_with_all_or_nothing_of_the_traffic_has_no_split(share: float) -> None:
    assert log_mismatch(Exposures(stable=5, canary=5), share) == 0.0


def test_under_the_share_of_the_route_a_unit_stays_a_unit_on_average() -> None:
    total = sum(
        math.comb(9, canary) * 0.1**canary * 0.9 ** (9 - canary)
        * math.exp(log_mismatch(Exposures(stable=9 - canary, canary=canary), 0.1))
        for canary in range(10)
    )  # fmt: skip

    assert total == pytest.approx(1.0)


def test_a_gateway_that_still_splits_as_before_the_step_holds_the_rollout_until_it_does_no_more() -> None:
    right, wrong = (counts(475, 5), FEW), (counts(475, 5, range(100)), FEW)
    good = after([right] * 60)

    mixed = after([wrong] * 3, good)
    mended = after([right] * 60, mixed)

    assert judged(good).decision == "promote"
    assert judged(mixed).reason == Hold.SRM
    assert judged(mended).decision == "promote"


def test_a_split_that_is_right_again_holds_no_longer_however_long_it_was_wrong() -> None:
    right, wrong = (counts(475, 5), FEW), (counts(475, 5, range(100)), FEW)
    mixed = after([wrong] * 500)
    needed = -(-RIGHT_AGAIN // len(CANARY))

    assert judged(after([right] * (needed - 1), mixed)).reason == Hold.SRM
    assert judged(after([right] * needed, mixed)).reason != Hold.SRM
    assert judged(after([right, right, wrong] * 60, mixed)).reason == Hold.SRM, "it is wrong now and then still"


def test_a_gateway_that_still_gives_the_version_more_holds_the_rollout_for_as_long() -> None:
    right, wrong = (counts(475, 5), FEW), (counts(400, 5), counts(100, 0, range(75, 100)))

    mixed, found = after([wrong]), set()
    for _ in range(60):
        mixed = after([wrong], mixed)
        found.add(judged(mixed).reason)

    assert found == {Hold.SRM}
    assert judged(after([right] * 60, mixed)).decision == "promote"


def test_jobs_of_the_share_before_do_not_count_in_the_first_interval_of_a_step() -> None:
    evidence = after([(counts(475, 5, range(100)), FEW)], next_step(after([(counts(475, 5), FEW)] * 60)))

    assert evidence.exposures == Exposures()


def test_jobs_of_the_canary_that_stay_away_are_missed() -> None:
    assert after([(counts(475), FEW), (counts(300), Counts())]).exposures.silent == 300
    assert after([(counts(475), FEW), (counts(300), Counts()), (counts(9), FEW)]).exposures.silent == 0


def test_one_key_with_a_third_of_the_jobs_is_no_mismatch() -> None:
    heavy = (counts(200, 0, STABLE), counts(100, 0, (97,)))

    assert judged(after([heavy] * 60)).decision == "promote"
