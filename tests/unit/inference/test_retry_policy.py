"""Whether a job that has failed is tried again, and when."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import JobError, QueueUnavailable, TransientFailure
from tests.unit.inference.jobs import NOON, SIGNATURE, item, lane_job
from workers.inference.results.outcomes import DeadLettered, RetryLater, outcome_of
from workers.inference.results.retry_policy import GivenUp, Retry, verdict

DELAYS_S = (10.0, 60.0, 600.0)
HOUR = NOON + timedelta(hours=1)
AWAY = TransientFailure("the store of features is away")


@pytest.mark.parametrize("attempt", [0, 1, 2])
def test_each_attempt_waits_in_the_next_tier(attempt: int) -> None:
    assert verdict(AWAY, attempt, NOON, HOUR, DELAYS_S) == Retry(attempt + 1)


def test_any_error_whose_class_says_so_is_tried_again() -> None:
    assert verdict(QueueUnavailable("away"), 0, NOON, HOUR, DELAYS_S) == Retry(1)


def test_what_would_only_fail_again_is_not_tried_again() -> None:
    error = JobError("the model failed")
    assert verdict(error, 0, NOON, HOUR, DELAYS_S) == GivenUp(error)


def test_after_the_last_tier_a_job_is_given_up() -> None:
    decided = verdict(AWAY, 3, NOON, HOUR, DELAYS_S)
    assert isinstance(decided, GivenUp)
    assert decided.exhausted
    assert decided.error.code == "transient_failure"
    assert decided.error.message == "the store of features is away; given up after 4 attempts"


def test_a_job_whose_deadline_comes_before_its_turn_ends_at_once_and_says_so() -> None:
    decided = verdict(AWAY, 1, NOON, NOON + timedelta(seconds=60), DELAYS_S)
    assert isinstance(decided, GivenUp)
    assert not decided.exhausted
    assert "would have been tried again in 60 s, but its deadline comes first" in decided.error.message


@given(
    st.lists(st.floats(0, 10_000), max_size=9),
    st.floats(0, 100_000),
    st.floats(0, 100),
)
def test_attempts_are_bounded_and_none_is_put_off_beyond_the_deadline(
    delays_s: list[float], time_s: float, run_s: float
) -> None:
    # Given a job that fails for ever, and runs for `run_s` each time
    now, expires_at, attempt = NOON, NOON + timedelta(seconds=time_s), 0
    # When it is tried again for as long as the verdict lets it
    while isinstance(decided := verdict(AWAY, attempt, now, expires_at, delays_s), Retry):
        now += timedelta(seconds=delays_s[decided.tier - 1])
        assert now < expires_at
        assert decided.tier == attempt + 1
        attempt = decided.tier
        now += timedelta(seconds=run_s)
    # Then it has been tried once, and once more a tier at most
    assert attempt <= len(delays_s)
    assert decided.exhausted == (attempt == len(delays_s))


def test_a_run_that_failed_for_now_is_settled_by_its_attempts() -> None:
    for attempt, expected in ((0, RetryLater), (2, RetryLater), (3, DeadLettered)):
        job = item(job=lane_job(attempt=attempt))
        became = outcome_of(SIGNATURE, job, AWAY, NOON, NOON, DELAYS_S)
        assert isinstance(became, expected)
        assert became.terminal.error is not None
        assert became.terminal.error.code == "transient_failure"
        assert not isinstance(became, DeadLettered) or became.deliveries == 4
