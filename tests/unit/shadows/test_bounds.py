"""What copies may take."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.routes import Routes
from schemas.routes import WHOLE, Shadow
from tests.unit.inference.jobs import lane_job
from tests.unit.shadows.house import route
from workers.inference.shadows.bounds import FULL_AFTER_S, Allowance, DeviceShares

SHADOWED = route(Shadow("1", 1.0, device_share=0.25, exclude_tenants=("shy",)), versions={"2": WHOLE}, default="2")


class ClockS:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 200)), min_size=1, max_size=60))
def test_on_average_no_more_is_taken_than_comes_in_whatever_the_pieces(pieces: list[tuple[float, float]]) -> None:
    clock_s, rate, taken = ClockS(), 5.0, 0.0
    allowance = Allowance(clock_s)
    largest = max(amount for _, amount in pieces)
    for after_s, amount in pieces:
        clock_s.now_s += after_s
        if allowance.left(rate) > 0:
            allowance.take(amount, rate)
            taken += amount
        assert taken <= rate * (clock_s.now_s - 100.0 + FULL_AFTER_S) + largest + 1e-6


def test_what_was_taken_too_much_has_to_come_in_first() -> None:
    clock_s = ClockS()
    allowance = Allowance(clock_s)
    allowance.take(100.0, 10.0)
    clock_s.now_s += 7.9
    assert allowance.left(10.0) < 0
    clock_s.now_s += 0.2
    assert allowance.left(10.0) > 0
    clock_s.now_s += 1000
    assert allowance.left(10.0) == 10.0 * FULL_AFTER_S


def refused(shares: DeviceShares, **fields: str) -> str | None:
    why = shares.refuses(msgspec.structs.replace(lane_job(), **fields))
    return None if why is None else why.param


def test_copies_that_have_used_up_their_share_of_the_device_wait_for_it() -> None:
    clock_s, routes = ClockS(), Routes()
    routes.of["adder"] = SHADOWED
    shares = DeviceShares(routes, clock_s)
    assert refused(shares) is None
    shares.ran("adder", "1", 1.0)  # half a second is there at first, so that half a second is missing
    assert refused(shares) == "device_share"
    clock_s.now_s += 2.1
    assert refused(shares) is None


@pytest.mark.parametrize(
    ("model", "version", "tenant"), [("adder", "3", "acme"), ("other", "1", "acme"), ("adder", "1", "shy")]
)
def test_copies_that_the_route_does_not_want_any_more_are_not_run(model: str, version: str, tenant: str) -> None:
    routes = Routes()
    routes.of["adder"] = SHADOWED
    assert refused(DeviceShares(routes), model=model, version=version, tenant=tenant) == "unwanted"
