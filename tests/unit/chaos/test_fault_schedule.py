"""Schedules of faults: data, from a seed."""

from hypothesis import given
from hypothesis import strategies as st

from tests.acceptance.chaos.faults import Kind, Rule, rules, rules_for, schedule

WORKERS = ["worker-1", "worker-2", "worker-3", "worker-4"]
GATEWAYS = ["gateway", "gateway-2"]
seeds = st.integers()
durations_s = st.floats(1, 3600)


@given(seed=seeds, duration_s=durations_s)
def test_the_same_seed_gives_the_same_faults(seed: int, duration_s: float) -> None:
    assert schedule(seed, duration_s, rules(WORKERS, GATEWAYS)) == schedule(seed, duration_s, rules(WORKERS, GATEWAYS))


def test_another_seed_gives_other_faults() -> None:
    assert schedule(1, 60, rules(WORKERS, GATEWAYS)) != schedule(2, 60, rules(WORKERS, GATEWAYS))


@given(seed=seeds, duration_s=durations_s)
def test_however_short_a_run_is_every_rule_applies_once_at_least_and_in_its_time(seed: int, duration_s: float) -> None:
    for rule in rules(WORKERS, GATEWAYS):
        faults = schedule(seed, duration_s, [rule])
        assert faults
        for fault in faults:
            assert fault.kind is rule.kind
            assert fault.part in rule.parts
            assert 0 <= fault.at_s <= duration_s
            assert rule.down_s[0] <= fault.down_s <= rule.down_s[1]


@given(seed=seeds, duration_s=durations_s)
def test_faults_come_in_order_of_time(seed: int, duration_s: float) -> None:
    times = [fault.at_s for fault in schedule(seed, duration_s, rules(WORKERS, GATEWAYS))]
    assert times == sorted(times)


@given(seed=seeds)
def test_a_longer_run_suffers_more_and_is_never_left_in_peace_for_long(seed: int) -> None:
    faults = schedule(seed, 100, [Rule(Kind.KILL, WORKERS, every_s=10)])
    assert [int(fault.at_s // 10) for fault in faults] == list(range(10))


def test_everything_that_the_promise_names_is_in_the_rules() -> None:
    suffered = {(rule.kind, part) for rule in rules(WORKERS, GATEWAYS) for part in rule.parts}
    every = [*WORKERS, "sink", "router", *GATEWAYS, "Kafka", "Postgres", "Valkey"]
    assert suffered == {(kind, part) for kind in (Kind.KILL, Kind.TERMINATE) for part in every} | {
        (Kind.FORGET, "Valkey")
    }


def test_roles_are_told_apart_by_their_names() -> None:
    assert rules_for(["gateway", "gateway-2", "router", *WORKERS, "sink"]) == rules(WORKERS, GATEWAYS)


@given(seed=seeds)
def test_faults_come_to_the_very_end(seed: int) -> None:
    assert schedule(seed, 100, rules(WORKERS, GATEWAYS))[-1].at_s > 87
