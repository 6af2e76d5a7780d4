from gateway.log_throttle import LogThrottle


def test_one_of_a_kind_is_let_through_per_interval_and_the_others_are_counted() -> None:
    now_s = 0.0
    seldom = LogThrottle(1.0, lambda: now_s)
    assert [seldom.due("a"), seldom.due("a"), seldom.due("a"), seldom.due("b")] == [0, None, None, 0]
    now_s = 1.0
    assert [seldom.due("a"), seldom.due("b"), seldom.due("a")] == [2, 0, None]
