"""How long a run takes, learned from the runs before it. Pure.

A line, `seconds = fixed + per_unit * cost`, by recursive least squares that forget; BentoML predicts likewise. Errors
count relative to the run, so that a fixed part of 1 ms is found beside runs of 1 s, and those that are far off are cut:
a hiccup is no reason to expect another.
"""

import math
from typing import Final

# A run's weight after as many others is about a third; so much history follows a drift and evens out the noise.
MEMORY_RUNS: Final = 50
KEPT: Final = 1 - 1 / MEMORY_RUNS
ENOUGH_RUNS: Final = 4
# Errors beyond so many times the usual one are cut to it.
FAR_OFF: Final = 3.0
USUAL_ERROR_AT_FIRST: Final = 0.3
# Costs that spread less than this, relative to their mean, say nothing about a slope.
SPREAD: Final = 0.02


class RunTimeModel:
    """Costs are in the model's unit (rows, tokens, pixels), and positive."""

    def __init__(self) -> None:
        self._runs = 0
        self._usual_error = USUAL_ERROR_AT_FIRST
        # Weighted sums over the runs: of weights, costs, seconds, squares of costs, costs times seconds.
        self._w = self._x = self._y = self._xx = self._xy = 0.0
        self._fixed_s = self._per_unit_s = 0.0
        self._mean_cost = self._mean_s = 0.0
        self._sloped = False

    def observe(self, cost: float, seconds: float) -> None:
        """Learn from a run. The very first is not looked at: runtimes leave work for it that no other has."""
        self._runs += 1
        if self._runs == 1:
            return
        expected = self.predicted_s(cost)
        if expected is not None and expected > 0:
            error = seconds / expected - 1
            bound = FAR_OFF * self._usual_error
            error = min(max(error, -bound), bound)
            self._usual_error += (max(abs(error), 0.01) - self._usual_error) / 20
            seconds = expected * (1 + error)
        weight = 1 / max(expected or seconds, 1e-9) ** 2
        self._w = self._w * KEPT + weight
        self._x = self._x * KEPT + weight * cost
        self._y = self._y * KEPT + weight * seconds
        self._xx = self._xx * KEPT + weight * cost * cost
        self._xy = self._xy * KEPT + weight * cost * seconds
        self._fit()

    def _fit(self) -> None:
        self._mean_cost, self._mean_s = self._x / self._w, self._y / self._w
        variance = self._xx / self._w - self._mean_cost**2
        self._sloped = variance > (SPREAD * self._mean_cost) ** 2
        if not self._sloped:
            return
        self._per_unit_s = max(0.0, (self._xy / self._w - self._mean_cost * self._mean_s) / variance)
        self._fixed_s = self._mean_s - self._per_unit_s * self._mean_cost
        if self._fixed_s < 0:  # no run is free: the line through the origin instead
            self._fixed_s, self._per_unit_s = 0.0, self._xy / self._xx

    def predicted_s(self, cost: float) -> float | None:
        """Seconds that a run of this cost takes, or None until a few were seen.

        Where all had about the same cost, smaller ones are taken for as long and larger ones for longer in proportion:
        of what is possible the slowest.
        """
        if self._runs <= ENOUGH_RUNS:
            return None
        if self._sloped:
            return self._fixed_s + self._per_unit_s * cost
        return self._mean_s * max(1.0, cost / self._mean_cost)

    def cost_within(self, seconds: float) -> float:
        """The most that a run may cost to take no longer than so many seconds; 0 while that cannot be told."""
        if self._runs <= ENOUGH_RUNS or not self._sloped or seconds < self._fixed_s:
            return 0.0
        return (seconds - self._fixed_s) / self._per_unit_s if self._per_unit_s > 0 else math.inf

    def fixed_cost(self) -> float | None:
        """The cost that takes as long as the fixed part of every run; None while that cannot be told."""
        if self._runs <= ENOUGH_RUNS or not self._sloped or self._per_unit_s <= 0:
            return None
        return self._fixed_s / self._per_unit_s
