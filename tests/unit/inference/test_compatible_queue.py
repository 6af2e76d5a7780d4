"""What a queue counts as items come and go is what a recount finds."""

import math
from functools import partial
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.inference.test_batcher import Thing, tokens
from workers.inference.batching import queue as queue_module
from workers.inference.batching.queue import MOST_GONE, Bounds, CompatibleQueue

arrivals = st.tuples(
    st.just("add"),
    st.builds(Thing, st.integers(0, 9), st.integers(1, 4), st.tuples(st.integers(1, 5)), st.just("")),
    st.sampled_from([1.0, 2.0, 3.0, math.inf]),
)
takes = st.tuples(st.just("take"), st.integers(1, 6), st.none())
drops = st.tuples(st.just("drop"), st.integers(0, 2), st.none())


def _of_remainder(remainder: int, thing: Thing) -> bool:
    return thing.number % 3 == remainder


@given(st.lists(arrivals | takes | drops, max_size=40), st.sampled_from([0, 2, MOST_GONE]))
def test_nothing_is_miscounted(steps: list[tuple[str, Thing | int, float | None]], most_gone: int) -> None:
    with patch.object(queue_module, "MOST_GONE", most_gone):
        _count_beside_a_list(steps)


def _count_beside_a_list(steps: list[tuple[str, Thing | int, float | None]]) -> None:
    queue = CompatibleQueue[Thing](tokens())
    left: list[tuple[Thing, float, float]] = []
    for now, (step, value, deadline) in enumerate(steps):
        if isinstance(value, Thing):
            thing = value._replace(group=str(now))  # each is one of a kind
            queue.add(thing, now, float(now), deadline or 0.0)
            left.append((thing, float(now), deadline or 0.0))
        elif step == "take":
            if not queue:
                continue
            taken = queue.take(Bounds(value))
            left = [entry for entry in left if entry[0] not in taken]
        else:
            unwanted = partial(_of_remainder, value % 3)
            gone = [entry for entry in left if unwanted(entry[0])]
            assert len(queue.drop(unwanted)) == len(gone)
            left = [entry for entry in left if entry not in gone]

        assert queue.rows == sum(thing.rows for thing, _, _ in left)
        assert queue.cost == sum(thing.rows * thing.size[0] for thing, _, _ in left)
        assert queue.first_came == min((came for _, came, _ in left), default=math.inf)
        assert queue.earliest_deadline == min((deadline for _, _, deadline in left), default=math.inf)
        assert bool(queue) == bool(left)
