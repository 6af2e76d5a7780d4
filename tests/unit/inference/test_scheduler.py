"""Which lane is next: live before bulk, bulk never starved, the longest due first; and what is done ahead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.topics import LaneClass
from workers.inference.engine.scheduler import (
    BULK_EVERY,
    HANDED_OVER_WITHIN_S,
    PASSED_OVER_AT_MOST,
    Candidate,
    Lookahead,
    Scheduler,
)

LIVE, BULK = LaneClass.LIVE, LaneClass.BULK


def test_nothing_is_chosen_while_nothing_is_due() -> None:
    scheduler: Scheduler[str] = Scheduler()
    assert scheduler.choose([Candidate("a", LIVE, due_at=5.0)], now=4.9) is None
    assert scheduler.choose([], now=4.9) is None


def test_live_goes_before_bulk_that_has_been_due_for_longer() -> None:
    scheduler: Scheduler[str] = Scheduler()
    candidates = [Candidate("bulk", BULK, due_at=1.0), Candidate("live", LIVE, due_at=2.0)]
    assert scheduler.choose(candidates, now=3.0) == "live"


def test_bulk_runs_when_no_live_is_due() -> None:
    scheduler: Scheduler[str] = Scheduler()
    candidates = [Candidate("bulk", BULK, due_at=1.0), Candidate("live", LIVE, due_at=9.0)]
    assert scheduler.choose(candidates, now=3.0) == "bulk"


def test_within_a_class_the_longest_due_goes_first() -> None:
    scheduler: Scheduler[str] = Scheduler()
    candidates = [Candidate("young", LIVE, due_at=2.0), Candidate("old", LIVE, due_at=1.0)]
    assert scheduler.choose(candidates, now=3.0) == "old"


def test_the_next_due_is_the_earliest() -> None:
    assert Scheduler.next_due([Candidate("a", LIVE, 5.0), Candidate("b", BULK, 4.0)]) == 4.0
    assert Scheduler.next_due([]) is None


def test_while_the_device_is_busy_only_a_full_micro_batch_is_closed_ahead() -> None:
    scheduler: Scheduler[str] = Scheduler()
    assert scheduler.choose([Candidate("a", LIVE, due_at=1.0)], now=2.0, busy=True) is None
    assert scheduler.choose([Candidate("a", LIVE, due_at=1.0, full=True)], now=2.0, busy=True) == "a"


def test_a_full_bulk_micro_batch_is_not_closed_ahead_of_a_live_one_that_is_still_open() -> None:
    scheduler: Scheduler[str] = Scheduler()
    candidates = [Candidate("live", LIVE, due_at=1.0), Candidate("bulk", BULK, due_at=0.0, full=True)]
    assert scheduler.choose(candidates, now=2.0, busy=True) is None
    assert scheduler.choose(candidates, now=2.0) == "live"


def test_live_overtakes_bulk_that_was_closed_ahead_for_want_of_it_but_not_for_ever() -> None:
    scheduler: Scheduler[str] = Scheduler()
    bulk, live = Candidate("bulk", BULK, due_at=0.0, full=True), Candidate("live", LIVE, due_at=1.0)
    for _ in range(2):
        # Given bulk that is closed ahead since nothing else is due
        assert scheduler.choose([bulk], now=0.5, busy=True) == "bulk"
        assert scheduler.overtake([bulk, live], now=0.5) is None
        # Then what comes to be due before it begins goes first, until the turn is bulk's
        turns = [scheduler.overtake([bulk, live], now=2.0) for _ in range(BULK_EVERY)]
        assert turns == ["live"] * (BULK_EVERY - 1) + [None]
        assert scheduler.choose([bulk, live], now=2.0) == "bulk"


def test_live_does_not_overtake_bulk_whose_turn_it_is() -> None:
    scheduler: Scheduler[str] = Scheduler()
    candidates = [Candidate("live", LIVE, due_at=0.0, full=True), Candidate("bulk", BULK, due_at=0.0, full=True)]
    assert [scheduler.choose(candidates, now=1.0) for _ in range(BULK_EVERY)][-1] == "bulk"
    assert scheduler.overtake(candidates, now=1.0) is None


def test_looking_ahead_in_vain_takes_no_turn() -> None:
    scheduler: Scheduler[str] = Scheduler()
    candidates = [Candidate("live", LIVE, due_at=0.0), Candidate("bulk", BULK, due_at=0.0, full=True)]
    for _ in range(BULK_EVERY - 1):
        assert scheduler.choose(candidates, now=1.0, busy=True) is None
        assert scheduler.choose(candidates, now=1.0) == "live"
    assert scheduler.choose(candidates, now=1.0, busy=True) == "bulk"


def test_bulk_gets_its_share_of_a_worker_that_is_never_idle() -> None:
    scheduler: Scheduler[str] = Scheduler()
    candidates = [Candidate("live", LIVE, due_at=0.0), Candidate("bulk", BULK, due_at=0.0)]
    turns = [scheduler.choose(candidates, now=1.0) for _ in range(10 * BULK_EVERY)]
    assert turns.count("bulk") == 10
    assert turns[:BULK_EVERY] == ["live"] * (BULK_EVERY - 1) + ["bulk"]


def test_a_full_micro_batch_goes_before_one_that_has_been_due_for_longer_but_not_again_and_again() -> None:
    scheduler: Scheduler[str] = Scheduler()
    candidates = [Candidate("half", LIVE, due_at=0.0), Candidate("full", LIVE, due_at=1.0, full=True)]
    turns = [scheduler.choose(candidates, now=2.0) for _ in range(2 * PASSED_OVER_AT_MOST + 2)]
    assert turns == (["full"] * PASSED_OVER_AT_MOST + ["half"]) * 2


def test_a_full_micro_batch_is_closed_ahead_of_another_versions_that_is_still_open() -> None:
    scheduler: Scheduler[str] = Scheduler()
    candidates = [Candidate("half", LIVE, due_at=0.0), Candidate("full", LIVE, due_at=1.0, full=True)]
    ahead = [scheduler.choose(candidates, now=2.0, busy=True) for _ in range(PASSED_OVER_AT_MOST + 1)]
    assert ahead == ["full"] * PASSED_OVER_AT_MOST + [None]
    assert scheduler.choose(candidates, now=2.0) == "half"


def test_of_full_micro_batches_the_longest_due_goes_first() -> None:
    scheduler: Scheduler[str] = Scheduler()
    candidates = [Candidate("young", BULK, due_at=2.0, full=True), Candidate("old", BULK, due_at=1.0, full=True)]
    assert scheduler.choose(candidates, now=3.0) == "old"


@given(
    classes=st.lists(st.sampled_from([LIVE, BULK]), min_size=1, max_size=6),
    refills=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=100, max_size=100),
)
def test_no_lane_starves_whatever_the_others_do(classes: list[LaneClass], refills: list[tuple[int, bool]]) -> None:
    # Given lanes that fill again, wholly or not, at once or a little after they were served
    scheduler: Scheduler[int] = Scheduler()
    due_at = dict.fromkeys(range(len(classes)), 0.0)
    full = dict.fromkeys(due_at, False)
    waited = dict.fromkeys(due_at, 0)

    # When a busy worker serves one of them each second
    for now, (refill, filled) in enumerate(refills):
        candidates = [Candidate(lane, classes[lane], due, full[lane]) for lane, due in due_at.items()]
        chosen = scheduler.choose(candidates, float(now))
        if chosen is None:
            continue
        for lane, due in due_at.items():
            waited[lane] = waited[lane] + 1 if due <= now and lane != chosen else 0
        due_at[chosen], full[chosen] = now + refill, filled

        # Then none waits for more turns than the shares promise: its class's lanes and what may pass it over, times
        # the class's share
        for lane, turns in waited.items():
            rivals = classes.count(classes[lane]) + PASSED_OVER_AT_MOST
            assert turns <= rivals * (BULK_EVERY if classes[lane] is BULK else 2)


@given(st.lists(st.tuples(st.sampled_from([LIVE, BULK]), st.floats(0, 10)), max_size=8), st.floats(0, 10))
def test_only_what_is_due_is_chosen(lanes: list[tuple[LaneClass, float]], now: float) -> None:
    scheduler: Scheduler[int] = Scheduler()
    candidates = [Candidate(number, cls, due_at) for number, (cls, due_at) in enumerate(lanes)]
    chosen = scheduler.choose(candidates, now)
    due = [number for number, (_, due_at) in enumerate(lanes) if due_at <= now]
    assert (chosen is None) == (not due)
    assert chosen is None or chosen in due


def looking_ahead(preparing_s: float, run_s: float | None) -> Lookahead:
    """A run has begun at 0."""
    ahead = Lookahead()
    for _ in range(100):
        ahead.prepared(preparing_s)
    ahead.begins(0.0, run_s)
    return ahead


def test_a_micro_batch_is_formed_as_long_before_the_end_of_a_run_as_preparing_takes() -> None:
    ahead = looking_ahead(preparing_s=0.001, run_s=0.05)
    assert ahead.next_look(0.01, formed=False) == pytest.approx(0.049, abs=1e-5)
    assert [ahead.may_form(now) for now in (0.01, 0.0485, 0.0495, 0.0505)] == [False, False, True, True]


def test_where_runs_end_unexpectedly_it_is_formed_earlier_but_at_most_twice_as_early() -> None:
    ahead = looking_ahead(preparing_s=0.001, run_s=0.05)
    for late_s, lead_s in ((0.0005, 0.0015), (0.04, 0.002)):
        for _ in range(100):
            ahead.ends(0.05 + late_s)
            ahead.begins(0.0, 0.05)
        assert ahead.next_look(0.01, formed=False) == pytest.approx(0.05 - lead_s, abs=1e-5)


def test_of_a_run_that_is_overdue_no_end_is_expected() -> None:
    ahead = looking_ahead(preparing_s=0.001, run_s=0.05)
    assert not ahead.may_form(0.06)
    assert not ahead.may_hand_over(0.06, LIVE)
    assert ahead.next_look(0.06, formed=True) is None


def test_runs_that_are_shorter_than_preparing_are_not_divided_into_ever_smaller_micro_batches() -> None:
    ahead = looking_ahead(preparing_s=0.001, run_s=0.0004)
    assert not ahead.may_form(0.0002)
    assert ahead.may_form(0.00035)


def test_the_device_is_handed_over_only_when_its_run_is_about_to_end() -> None:
    ahead = looking_ahead(preparing_s=0.001, run_s=0.05)
    assert ahead.next_look(0.01, formed=True) == pytest.approx(0.05 - HANDED_OVER_WITHIN_S)
    for cls in (LIVE, BULK):
        assert [ahead.may_hand_over(now, cls) for now in (0.01, 0.0485, 0.0515)] == [False, True, True]


def test_what_is_formed_may_be_overtaken_as_soon_as_another_may_be_formed() -> None:
    ahead = looking_ahead(preparing_s=0.005, run_s=0.05)
    looks = [ahead.next_look(now, formed=True) for now in (0.01, 0.046, 0.049)]
    assert looks == [pytest.approx(0.045), pytest.approx(0.05 - HANDED_OVER_WITHIN_S), None]


def test_nothing_is_done_ahead_where_the_time_of_runs_is_not_known() -> None:
    ahead = looking_ahead(preparing_s=0.001, run_s=None)
    assert not ahead.may_form(0.0)
    assert not ahead.may_hand_over(0.0, LIVE)
    assert ahead.next_look(0.0, formed=False) is None
