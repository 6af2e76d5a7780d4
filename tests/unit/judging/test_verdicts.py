import math
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from schemas.rollouts import Decision, Finding, Guardrail, Kind
from schemas.stats import Counts, End
from tests.examples import examples
from tests.unit.judging.counting import BEGAN, CANARY, FAILED, INTERVAL_S, STABLE, after, counts, interval, judged
from workers.rollout.judging.evidence import Around, Evidence, Interval, Tally
from workers.rollout.judging.judge import Hold, begin, explain, next_step, observe, verdict

GOOD = (counts(475, 5), counts(25, 0, CANARY))
ALL_FAIL = (counts(475, 5), counts(25, 25, CANARY))
DEFAULT = (Guardrail(Kind.FAILED), Guardrail(Kind.INVALID_OUTPUT), Guardrail(Kind.SLOW))


def runs(bins: dict[int, dict[int, int]], jobs: int, cohorts: Sequence[int] = STABLE) -> Counts:
    return msgspec.structs.replace(counts(jobs, 0, cohorts), run_times=bins)


def beside(evidence: Evidence, **around: Any) -> Evidence:
    return msgspec.structs.replace(evidence, around=Around(**around))


def is_finite(found: Finding) -> bool:
    """JSON has no others: they would be read again as None."""
    return all(math.isfinite(number) for number in found.numbers.values() if number is not None)


def test_nearly_all_is_written_out() -> None:
    (found,) = judged(after([(counts(4_750, 50), counts(2_500, 2_499, CANARY))])).evidence

    assert "2,499 of 2,500 jobs (100 %)" in found.told
    assert "e+" not in found.told


def test_a_version_that_fails_all_is_rolled_back_after_its_first_interval() -> None:
    found = judged(after([ALL_FAIL], guardrails=DEFAULT))

    assert (found.decision, found.reason) == (Decision.ROLLBACK, Kind.FAILED)


def test_a_version_that_fails_all_only_after_an_hour_is_found_as_soon() -> None:
    an_hour = [(counts(475, 5), counts(25, at % 4 == 0, CANARY)) for at in range(720)]

    assert judged(after([*an_hour, ALL_FAIL])).decision is Decision.ROLLBACK


def test_a_good_version_goes_on_once_that_is_shown_and_not_before() -> None:
    few, enough = after([GOOD] * 5), after([GOOD] * 60)

    assert (judged(few).decision, judged(few).reason) == (Decision.HOLD, Hold.TOO_FEW)
    assert judged(enough).decision is Decision.PROMOTE


def test_nothing_is_promoted_while_an_operator_holds_its_jobs_and_who_looks_is_told() -> None:
    held = beside(after([GOOD] * 60), held="an operator holds the jobs of model digits")

    assert (judged(held).decision, judged(held).reason) == (Decision.HOLD, Hold.PAUSED)
    assert judged(held).told == "an operator holds the jobs of model digits"
    assert judged(beside(after([ALL_FAIL], guardrails=DEFAULT), held="x")).decision is Decision.ROLLBACK


def test_a_version_as_bad_as_a_bad_stable_one_goes_on_by_the_ratio() -> None:
    both = (counts(475, 24), counts(25, 1, CANARY))

    found = judged(after([both] * 60))

    assert found.decision is Decision.PROMOTE
    assert "surely less than 2 times as often" in found.evidence[0].told


def test_between_good_and_bad_it_holds_on() -> None:
    between = [(counts(475, 6), counts(25, at % 2, CANARY)) for at in range(40)]

    assert judged(after(between)).reason == Hold.INCONCLUSIVE


def test_failures_below_the_floor_roll_nothing_back_however_surely_the_stable_version_has_fewer() -> None:
    two_of_many = [(counts(190_000), counts(10_000, at < 3, CANARY)) for at in range(5)]

    lax, strict = (after(two_of_many, guardrails=(Guardrail(Kind.FAILED, floor=each),)) for each in (0.001, 0.0000001))

    assert judged(lax).decision is not Decision.ROLLBACK
    assert judged(strict).decision is Decision.ROLLBACK


@pytest.mark.parametrize("bad", [0, 25])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_floors_and_limits_of_nothing_and_of_all_are_judged_too(share: float, bad: int) -> None:
    guardrails = (Guardrail(Kind.FAILED, floor=share, limit=share), Guardrail(Kind.DISAGREE, floor=share, limit=share))

    found = judged(after([(counts(475, 5), counts(25, bad, CANARY))], guardrails=guardrails))

    assert all(map(is_finite, found.evidence))


def test_each_step_must_be_shown_to_be_good_by_itself() -> None:
    done = after([GOOD] * 60)

    following = after([GOOD], next_step(done))

    assert judged(done).decision is Decision.PROMOTE
    assert judged(following).reason == Hold.TOO_FEW
    assert following.kinds[Kind.FAILED].earlier_canary.jobs == 1_500


def test_what_speaks_against_a_version_is_not_forgotten_with_the_step() -> None:
    suspect = (counts(475, 5), counts(25, 1, CANARY))
    at_once, in_steps = after([suspect] * 8), after([suspect] * 4, next_step(after([suspect] * 4)))

    assert at_once.kinds[Kind.FAILED].worse == in_steps.kinds[Kind.FAILED].worse


def test_an_interval_counts_once_and_none_that_is_older() -> None:
    evidence = after([GOOD, GOOD])

    assert observe(evidence, interval(2, *ALL_FAIL)) is evidence
    assert observe(evidence, interval(1, *ALL_FAIL)) is evidence


def test_jobs_of_the_canary_wait_for_an_interval_in_which_there_is_something_to_compare_them_with() -> None:
    alone = (Counts(), counts(3, 3, CANARY))

    waiting = after([alone] * 3)
    compared = after([(counts(300, 3), Counts())], waiting)

    assert judged(waiting).decision is not Decision.ROLLBACK
    assert waiting.kinds[Kind.FAILED].waiting == Tally(9, 9)
    assert judged(compared).decision is Decision.ROLLBACK
    assert compared.kinds[Kind.FAILED].waiting == Tally()


def test_an_interval_without_anything_is_none() -> None:
    evidence = after([GOOD])

    assert observe(evidence, interval(9, Counts(), Counts())) is evidence


@pytest.mark.parametrize(
    ("intervals", "decision", "reason"),
    [(3, Decision.PROMOTE, "proven"), (3.01, Decision.HOLD, Hold.STATS_STALE)],
)
def test_nothing_is_promoted_by_old_counts(intervals: float, decision: Decision, reason: str) -> None:
    evidence = after([GOOD] * 60)
    assert evidence.last_at is not None

    found = verdict(evidence, evidence.last_at + timedelta(seconds=intervals * INTERVAL_S), INTERVAL_S)

    assert (found.decision, found.reason) == (decision, reason)


def test_what_stands_in_the_way_is_told_and_a_bad_version_goes_back_all_the_same() -> None:
    good, bad = after([GOOD] * 60), after([GOOD] * 60 + [ALL_FAIL])
    assert good.last_at is not None

    assert judged(beside(good, workers=0)).reason == Hold.NO_WORKERS
    assert judged(beside(good, workers=1)).decision is Decision.PROMOTE
    later = good.last_at + timedelta(hours=1)
    assert verdict(beside(bad, workers=0), later, INTERVAL_S).decision is Decision.ROLLBACK


def test_a_clock_that_is_wrong_holds_and_is_named() -> None:
    found = judged(beside(after([GOOD] * 60), clock="the clock of w-7 is 3 s ahead"))

    assert (found.decision, found.reason, found.told) == (Decision.HOLD, "stats_stale", "the clock of w-7 is 3 s ahead")


def test_a_route_that_others_have_written_over_holds_and_is_told() -> None:
    good = after([GOOD] * 60)
    found = judged(beside(good, followed=9, written=7))

    assert (found.decision, found.reason) == (Decision.HOLD, "srm")
    assert found.told == "gateways go by revision 9 of the route, and the rollout has written 7: abort it"
    assert judged(beside(good, followed=7, written=7)).decision is Decision.PROMOTE


def test_a_ratio_that_is_proven_where_the_floor_is_not_says_that_of_the_floor() -> None:
    evidence = after([(counts(4_750, 5), counts(250, 15, CANARY))], guardrails=[Guardrail(Kind.FAILED, floor=0.2)])

    (found,) = judged(evidence).evidence

    assert found.decision is Decision.HOLD
    assert re.search(
        r"\): surely more than 1.5 times as often \(evidence [^)]+, 20 needed\), but not surely above 20 % "
        r"\(evidence [^)]+, 20 needed\), too few",
        found.told,
    )


def test_without_jobs_of_the_canary_it_holds_for_lack_of_traffic() -> None:
    assert judged(after([])).reason == Hold.NO_TRAFFIC
    assert judged(after([(counts(500), Counts())] * 2)).reason == Hold.NO_TRAFFIC


def test_a_canary_whose_jobs_stay_away_is_not_promoted_by_what_it_did_before() -> None:
    silent = after([(counts(475, 5), Counts())], after([GOOD] * 60))

    assert judged(silent).reason == Hold.NO_TRAFFIC


def test_a_guardrail_in_a_dry_run_is_told_and_changes_nothing() -> None:
    dry = (Guardrail(Kind.FAILED, dry_run=True), Guardrail(Kind.INVALID_OUTPUT))

    found = judged(after([ALL_FAIL] * 40, guardrails=dry))

    assert found.decision is Decision.PROMOTE
    assert [(each.kind, each.decision, each.dry_run) for each in found.evidence] == [
        (Kind.FAILED, Decision.ROLLBACK, True),
        (Kind.INVALID_OUTPUT, Decision.PROMOTE, False),
    ]


def test_more_guardrails_share_what_may_go_wrong_and_those_in_a_dry_run_have_no_part_in_it() -> None:
    dry = (*FAILED, Guardrail(Kind.SLOW, dry_run=True))

    needed = [
        10 ** (judged(after([], guardrails=each)).evidence[0].numbers["log_worse_needed"] or 0)
        for each in (FAILED, dry, DEFAULT)
    ]

    assert needed == pytest.approx([20, 20, 60])


def test_invalid_outputs_are_told_from_failures() -> None:
    invalid = (counts(475, 5), counts(25, 25, CANARY, End.INVALID_OUTPUT))

    found = judged(after([invalid], guardrails=DEFAULT))

    assert (found.decision, found.reason) == (Decision.ROLLBACK, Kind.INVALID_OUTPUT)


@pytest.mark.parametrize("end", [End.CLIENT_ERROR, End.CANCELED, End.DEADLINE])
def test_what_is_not_the_versions_fault_counts_for_nothing(end: End) -> None:
    found = judged(after([(counts(475, 5), counts(25, 25, CANARY, end))]))

    assert found.reason == Hold.NO_TRAFFIC
    assert found.evidence[0].numbers["bad"] == 0


def test_a_version_that_disagrees_too_often_is_rolled_back_and_one_that_seldom_does_goes_on() -> None:
    def compared(bad: int) -> Evidence:
        pairs = Interval(
            ended_at=BEGAN + timedelta(seconds=5), shares={"1": 10_000}, version="2", compared=Tally(400, bad)
        )
        return observe(begin((Guardrail(Kind.DISAGREE),), BEGAN), pairs)

    assert [judged(compared(bad)).decision for bad in (4, 20, 60)] == list(Decision)


def test_outcomes_that_callers_tell_are_judged_by_jobs_that_have_one() -> None:
    told = {cohort: Tally(100, 30) for cohort in range(95)}, {cohort: Tally(100, 80) for cohort in CANARY}
    evidence = begin((Guardrail(Kind.OUTCOME_BAD),), BEGAN)

    for at in (1, 2):
        with_outcomes = msgspec.structs.replace(interval(at, *GOOD), stable_outcomes=told[0], canary_outcomes=told[1])
        evidence = observe(evidence, with_outcomes)

    assert judged(evidence).reason == Kind.OUTCOME_BAD


def test_a_version_whose_runs_take_longer_is_rolled_back() -> None:
    slower = (runs({3: {-40: 380, -30: 20}}, 475), runs({3: {-40: 8, -30: 12}}, 25, CANARY))

    found = judged(after([slower] * 4, guardrails=DEFAULT))

    assert (found.decision, found.reason) == (Decision.ROLLBACK, Kind.SLOW)


def test_small_runs_that_take_longer_a_row_than_large_ones_are_no_fault() -> None:
    large, small = {-40: 380, -30: 20}, {-20: 19, -10: 1}
    equal = (runs({5: large, 0: {-20: 190, -10: 10}}, 475), runs({0: small}, 25, CANARY))

    assert judged(after([equal] * 60, guardrails=(Guardrail(Kind.SLOW),))).decision is Decision.PROMOTE


def test_runs_of_the_first_interval_still_warm_up() -> None:
    before = msgspec.structs.replace(counts(10_000, 100, range(100)), run_times={3: {-40: 9_500, -30: 500}})
    cold = (runs({3: {-40: 380, -30: 20}}, 475), runs({3: {-10: 20}}, 25, CANARY))
    evidence = begin((Guardrail(Kind.SLOW),), BEGAN, before, 3600)

    first = after([cold], evidence)

    assert judged(first).reason == Hold.NO_TRAFFIC
    assert judged(after([cold], first)).reason == Kind.SLOW


def test_evidence_is_stored_and_explained_as_it_was() -> None:
    before = counts(20_000, 200, range(100))
    evidence = after([GOOD] * 8 + [ALL_FAIL], begin(DEFAULT, BEGAN, before, 3600))
    stored = msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence)
    now = BEGAN + timedelta(seconds=50)

    assert stored == evidence
    assert verdict(stored, now, INTERVAL_S) == verdict(evidence, now, INTERVAL_S)
    lines = explain(stored, now, INTERVAL_S)
    assert lines[0] == "rollback: failed"
    assert re.fullmatch(
        r"failed: 25 of 225 jobs \(11 %\), stable 45 of 4,275 \(1.1 %\): surely more than 1.5 times as often "
        r"\(evidence 10\^\d+, 120 needed\), and above 0.01 %; before, these callers had 0.\d+ to [12].\d times "
        r"as many as others \(from 200 bad ones\)",
        lines[2],
    )
    assert lines[-1] == (
        "split, by cohorts and not by keys: 5 of 100 cohorts first served by the canary; "
        "0 of 40 moved cohorts (an interval each) still with the stable version"
    )


sides = st.tuples(st.integers(0, 10**7), st.floats(0, 1), st.integers(0, 10**7), st.floats(0, 1))


@examples(60)
@given(st.lists(sides, max_size=6), st.sampled_from([1, 500, 5_000, 9_999]), st.booleans())
def test_whatever_was_counted_there_is_a_verdict_with_finite_numbers(
    counted: list[tuple[int, float, int, float]], share: int, has_history: bool
) -> None:
    before = counts(20_000, 200, range(100)) if has_history else Counts()
    evidence = begin(DEFAULT, BEGAN, before, 0)
    for at, (stable, stable_bad, canary, canary_bad) in enumerate(counted, 1):
        sides = counts(stable, int(stable * stable_bad)), counts(canary, int(canary * canary_bad), CANARY)
        evidence = observe(evidence, interval(at, *sides, share))

    found = judged(evidence)

    assert msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence) == evidence
    assert all(map(is_finite, found.evidence))
    assert explain(evidence, BEGAN, INTERVAL_S)
