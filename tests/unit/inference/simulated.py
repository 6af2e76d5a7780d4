"""Models that are only a run time, with the noise of real ones, and what a sizer makes of them."""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner

# Seconds of a run of so many rows.
Model = Callable[[int], float]

HICCUPS = 0.01  # share of the runs
HICCUP = 5.0  # times as long


def line(fixed_s: float, row_s: float) -> Model:
    return lambda rows: fixed_s + row_s * rows


def cliff(fixed_s: float, row_s: float, edge: int, beyond: float) -> Model:
    """Up to `edge` rows a line; each further row is `beyond` times as dear, as when a cache is too small."""
    return lambda rows: fixed_s + row_s * (rows + (beyond - 1) * max(0, rows - edge))


def jump(fixed_s: float, row_s: float, edge: int, beyond: float) -> Model:
    """Beyond `edge` rows the whole run is `beyond` times as long, as when another kernel is chosen."""
    return lambda rows: (fixed_s + row_s * rows) * (beyond if rows > edge else 1.0)


def plateau(fixed_s: float, row_s: float) -> Model:
    """A device with room for more up to a size, and rows behind one another from there."""
    return lambda rows: max(fixed_s, row_s * rows)


class Served(NamedTuple):
    """`efficiency`: throughput over that of the best fixed size. `out_of_memory`: how often memory ran out."""

    efficiency: float
    sizes: list[int]
    out_of_memory: int


def serve(
    sizer: BatchSizeTuner,
    *eras: Model,
    ceiling: int,
    seed: int,
    noise: float = 0.1,
    runs: int = 3000,
    memory_rows: int | None = None,
    target_s: float | None = None,
) -> Served:
    """Run one era after the other, each for `runs` full micro-batches. The end of the last counts."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    sizes: list[int] = []
    out_of_memory = 0
    rows_run, busy_s = 0, 0.0
    for number in range(runs * len(eras)):
        model, rows = eras[number // runs], sizer.rows
        sizes.append(rows)
        if memory_rows is not None and rows > memory_rows:
            sizer.out_of_memory(rows, rows)
            out_of_memory += 1
            continue
        seconds = model(rows) * chance.lognormvariate(0, noise)
        if number == 0 or chance.random() < HICCUPS:
            seconds *= HICCUP
        sizer.observe(rows, rows, seconds)
        if number >= runs * len(eras) - runs // 3:
            rows_run, busy_s = rows_run + rows, busy_s + seconds
    sound = [rows for rows in range(1, (memory_rows or ceiling) + 1) if target_s is None or eras[-1](rows) <= target_s]
    best = max(rows / eras[-1](rows) for rows in sound)
    expected = math.exp(noise**2 / 2) * (1 + HICCUPS * (HICCUP - 1))
    return Served(rows_run / busy_s * expected / best, sizes, out_of_memory)
