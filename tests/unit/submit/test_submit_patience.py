from collections.abc import Awaitable, Callable

import pytest

from penstock.patience import FULL_LANE_PAUSE_S, Patience, TargetLost
from schemas.errors import InvalidInput, LaneFull, PenstockError, QueueUnavailable, RequestInFlight


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def patience_on(time: FakeTime, notices: list[str] | None = None, limit_s: float = 60) -> Patience:
    told = notices if notices is not None else []
    return Patience(told.append, limit_s=limit_s, clock=time.clock, sleep=time.sleep)


def failing(*errors: PenstockError) -> Callable[[], Awaitable[str]]:
    """An attempt that meets these errors one after the other, then succeeds."""
    left = list(errors)

    async def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return attempt


async def test_what_succeeds_is_not_delayed(time: FakeTime) -> None:
    assert await patience_on(time).until_done(failing()) == "done"
    assert time.slept_s == []


async def test_what_the_server_asks_to_wait_is_waited(time: FakeTime) -> None:
    notices: list[str] = []

    await patience_on(time, notices).until_done(failing(QueueUnavailable("away", retry_after_s=7)))

    assert time.slept_s == [7]
    assert notices == ["away"]


async def test_without_such_a_wish_delays_grow(time: FakeTime) -> None:
    await patience_on(time).until_done(failing(*[QueueUnavailable("away")] * 5))

    assert time.slept_s[0] <= 0.1
    assert time.slept_s[-1] >= 0.8


async def test_what_no_retry_can_mend_is_raised_at_once(time: FakeTime) -> None:
    with pytest.raises(InvalidInput):
        await patience_on(time).until_done(failing(InvalidInput("no")))

    assert time.slept_s == []


async def test_a_service_away_for_too_long_ends_the_run(time: FakeTime) -> None:
    with pytest.raises(TargetLost, match="no success for 60 s: away"):
        await patience_on(time).until_done(failing(*[QueueUnavailable("away", retry_after_s=20)] * 10))

    assert time.now_s == 80


async def test_a_full_lane_is_waited_for_without_end(time: FakeTime) -> None:
    await patience_on(time).until_done(failing(*[LaneFull("full")] * 500))

    assert time.slept_s == [FULL_LANE_PAUSE_S] * 500


async def test_patience_begins_anew_once_the_service_has_answered(time: FakeTime) -> None:
    away = QueueUnavailable("away", retry_after_s=40)

    assert await patience_on(time).until_done(failing(away, away, RequestInFlight("busy"), away, away)) == "done"
