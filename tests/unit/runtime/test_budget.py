"""What a process may hold of what others send."""

import pytest
from prometheus_client import REGISTRY

from runtime.budget import MemoryBudget
from schemas.errors import Unavailable


def test_what_is_held_counts_until_its_holder_ends() -> None:
    budget = MemoryBudget(100)
    with budget.hold("bodies") as body:
        body.grow(40)
        body.grow(60)
        assert budget.held_bytes == 100
    assert budget.held_bytes == 0


def test_what_does_not_fit_is_refused_and_what_is_held_stays_held() -> None:
    budget = MemoryBudget(100)
    with budget.hold("bodies") as body, budget.hold("pixels") as pixels:
        body.grow(70)
        with pytest.raises(Unavailable) as refused:
            pixels.grow(31)
        assert refused.value.retry_after_s
        assert (body.held_bytes, pixels.held_bytes) == (70, 0)
        pixels.grow(30)


def test_each_use_is_shown_by_itself() -> None:
    def shown(use: str) -> float | None:
        return REGISTRY.get_sample_value("penstock_memory_held_bytes", {"use": use})

    budget = MemoryBudget(100)
    with budget.hold("heads") as head, budget.hold("bodies") as body:
        head.grow(9)
        body.grow(1)
        assert (shown("heads"), shown("bodies")) == (9, 1)
    assert (shown("heads"), shown("bodies")) == (0, 0)
    assert REGISTRY.get_sample_value("penstock_memory_budget_bytes") == 100


def test_a_holding_can_be_set_to_a_size() -> None:
    budget = MemoryBudget(10)
    with budget.hold("bodies") as body:
        body.resize(8)
        body.resize(3)
        assert budget.held_bytes == 3
        with pytest.raises(Unavailable):
            body.resize(11)
        assert budget.held_bytes == 3
    assert budget.held_bytes == 0


def test_giving_back_twice_gives_back_once() -> None:
    budget = MemoryBudget(10)
    holding = budget.hold("bodies")
    holding.grow(10)
    holding.release()
    holding.release()
    assert budget.held_bytes == 0
