import pytest

from gateway.token_bucket import SharedTokens, TokenBucket


class Bench:
    def __init__(self, per_s: float = 10.0, burst: float = 3.0) -> None:
        self.now_s = 5.0
        self.bucket = TokenBucket(per_s, burst, lambda: self.now_s)

    def taken(self, tries: int) -> int:
        return sum(self.bucket.wait_s() == 0 for _ in range(tries))


def test_as_many_as_have_come_together_are_taken_at_once() -> None:
    bench = Bench()
    assert bench.taken(10) == 3
    bench.now_s += 0.25
    assert bench.taken(10) == 2
    bench.now_s += 3600
    assert bench.taken(10) == 3


def test_who_comes_too_early_is_told_when_there_is_one_again() -> None:
    bench = Bench()
    assert bench.taken(3) == 3
    wait_s = bench.bucket.wait_s()
    assert wait_s == pytest.approx(0.1)
    assert bench.bucket.wait_s() == wait_s, "asking takes nothing"
    bench.now_s += wait_s + 1e-9
    assert bench.bucket.wait_s() == 0


def test_what_cost_more_is_paid_by_those_who_come_next() -> None:
    bench = Bench()
    assert bench.bucket.wait_s() == 0
    bench.bucket.take_more(12)
    assert bench.bucket.wait_s() == pytest.approx(1.1)
    bench.now_s += 1.2
    assert bench.taken(5) == 2


def test_tokens_are_shared_by_those_who_come() -> None:
    now_s = 0.0
    tokens = SharedTokens(10, 20, lambda: now_s)
    assert [tokens.wait_s("greedy") for _ in range(20)] == [0.0] * 20
    assert tokens.wait_s("greedy") > 0
    assert [tokens.wait_s("modest") for _ in range(10)] == [0.0] * 10, "half of all is the other's"
    assert tokens.wait_s("modest") > 0
    now_s = 1.0
    assert [bool(tokens.wait_s("greedy")) for _ in range(6)] == [False] * 5 + [True]


def test_who_came_long_ago_has_no_share_and_is_forgotten() -> None:
    now_s = 0.0
    tokens = SharedTokens(10, 20, lambda: now_s)
    for number in range(1000):
        tokens.wait_s(str(number))
    now_s = 60.0
    assert [tokens.wait_s("new") for _ in range(20)] == [0.0] * 20
    assert len(tokens._buckets) == 1
