from schemas.stats import Counts
from workers.rollout.judging.evidence import SlowLines, Tally
from workers.rollout.judging.slowness import classes, learned


def test_a_line_is_drawn_at_the_quantile_once_there_are_runs_enough_and_stays() -> None:
    few = learned(SlowLines(), Counts(run_times={0: {-8: 94, 0: 6}}))
    enough = learned(few, Counts(run_times={0: {-8: 96, 0: 4}, 5: {-20: 1}}))
    later = learned(enough, Counts(run_times={0: {8: 10_000}}))

    assert few == SlowLines({}, {0: {-8: 94, 0: 6}})
    assert enough == SlowLines({0: -8}, {5: {-20: 1}})
    assert later == enough


def test_only_runs_of_classes_that_both_have_are_compared() -> None:
    lines = SlowLines({0: -8, 5: -20, 6: -20}, {})
    stable = Counts(run_times={0: {-8: 90, 0: 10}, 5: {-20: 50}, 7: {0: 1}})
    canary = Counts(run_times={0: {-8: 4, -7: 2}, 6: {-20: 3}, 7: {0: 1}})

    assert classes(lines, stable, canary) == [(Tally(100, 10), Tally(6, 2))]


def test_half_of_the_runs_in_one_bin_are_not_slow() -> None:
    lines = learned(SlowLines(), Counts(run_times={0: {-8: 1000}}))

    assert classes(lines, Counts(run_times={0: {-8: 9}}), Counts(run_times={0: {-8: 9}})) == [
        (Tally(9, 0), Tally(9, 0))
    ]
