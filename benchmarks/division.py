"""How many runs it takes to divide a micro-batch with bad rows, beside the fewest that any way to ask could take.

A simulation of rows that are bad independently of each other. The share of them is learned, as in a worker.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.figures import Table
from benchmarks.models import Models
from schemas.errors import JobError
from workers.inference.execution.bisection import Steps, isolate
from workers.inference.execution.failures import Failure, Scope
from workers.inference.execution.piece_sizes import BadShare, PieceSizes

ROWS: Final = (8, 16, 32, 64, 128, 256)
SHARES: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3)
MICRO_BATCHES: Final = 2_000
ROWS_TO_LEARN_FROM: Final = 2_000
# What the tests hold division to.
MOST: Final = 1.25

Answer = Sequence[int] | Failure


async def measure(models: Models, _rounds: int, shorten: int) -> list[Table]:
    rows = []
    for share in SHARES:
        if not models.wants(name := f"{share:.1%}"):
            continue
        ratios = [average_runs(count, share, MICRO_BATCHES // shorten) / fewest_runs(count, share) for count in ROWS]
        rows.append([name, *(f"{each:.2f}" for each in ratios)])
    return [
        Table(
            "Dividing micro-batches that fail: runs, over the fewest that any way could take",
            ["bad rows", *(f"{count} rows" for count in ROWS)],
            rows,
        )
    ]


def fewest_runs(rows: int, share: float) -> float:
    """On average. A run answers yes or no, so that no way takes fewer than the best code for which rows are bad has
    bits: their entropy. Where most micro-batches have none, even these take a whole bit, which is more than their part
    of the entropy; what is left is the entropy of the others."""
    none = (1 - share) ** rows
    entropy = rows * _bits(share)
    return entropy if none <= 0.5 else 1 + entropy - _bits(none)


def average_runs(rows: int, share: float, micro_batches: int) -> float:
    """A micro-batch, where the share has been learned from others. Those that are run are the same each time."""
    chance = random.Random(rows)
    learned = BadShare()
    for _ in range(ROWS_TO_LEARN_FROM // rows):
        _runs(_bad_among(rows, share, chance), rows, learned)
    runs = [_runs(_bad_among(rows, share, chance), rows, learned) for _ in range(micro_batches)]
    return sum(runs) / micro_batches


def _bad_among(rows: int, share: float, chance: random.Random) -> frozenset[int]:
    return frozenset(row for row in range(rows) if chance.random() < share)


def _runs(bad: frozenset[int], rows: int, learned: BadShare) -> int:
    """Those of one micro-batch, from which is learned."""
    runs: list[int] = []
    sizes = PieceSizes(learned.value)
    steps = isolate(range(rows), _model(bad, runs), sizes)
    for _ in steps:
        pass
    learned.learn(sizes.bad, sizes.good)
    return len(runs)


def _model(bad: frozenset[int], runs: list[int]) -> Callable[[Sequence[int]], Steps[Answer]]:
    def attempt(items: Sequence[int]) -> Steps[Answer]:
        yield
        runs.append(len(items))
        if bad.isdisjoint(items):
            return items
        return Failure(Scope.ROW if len(items) == 1 else Scope.MICRO_BATCH, JobError("bad"))

    return attempt


def _bits(probability: float) -> float:
    if probability in (0.0, 1.0):
        return 0.0
    return -probability * math.log2(probability) - (1 - probability) * math.log2(1 - probability)
