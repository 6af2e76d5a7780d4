"""Judges of many rollouts at once: ours, and the rules of others. Each takes interval after interval, and says in which
rollouts it would now roll back.

Ours is the arithmetic of `workers.rollout.judging`, for one guardrail; a test holds it to the same verdicts.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.rollout_traffic import Rates, split
from schemas import bounds
from schemas.rollouts import Guardrail, Kind
from workers.rollout.judging import callers, deals, eprocess, ratio, shares
from workers.rollout.judging.eprocess import Array
from workers.rollout.judging.evidence import History, Tally, Tilt
from workers.rollout.judging.findings import MOST_OF_CALLERS
from workers.rollout.judging.judge import FREQUENT, KNOWN_FROM
from workers.rollout.judging.ratio import Sides
from workers.rollout.judging.rules import ALPHA, SLACK, levels, rule

Said = NDArray[np.bool_]
MINUTE: Final = 12  # intervals of 5 s


class Judge:
    """One guardrail for `failed`, in its first step. `before`: what the callers did before; where that is None, `of`
    says how their jobs come by cohort."""

    def __init__(
        self, rollouts: int, guardrail: Guardrail, before: Sides | None = None, of: Rates | None = None
    ) -> None:
        self.rule = rule(guardrail)
        self.levels = levels([self.rule], ALPHA)
        known = [Tilt()] * rollouts if before is None else tilts(before, self.levels.worse / 4, self.levels.better / 2)
        self.parts = np.array([1.0 if tilt.bad is None else 2.0 for tilt in known])
        margin = self.rule.margin or 1.0
        self.worse_margin = margin * np.array([tilt.upper for tilt in known])
        self.better_margin = margin * SLACK * np.array([tilt.lower for tilt in known])
        self.worse = np.full((rollouts, len(ratio.WORSE)), -np.inf)
        self.worse_looks = np.zeros(rollouts)
        self.above = np.full((rollouts, 1), -np.inf)  # as many alternatives as the first look brings
        self.above_looks = np.zeros(rollouts)
        self.better = np.zeros((rollouts, len(ratio.BETTER)))
        self.stable_jobs, self.stable_bad = np.zeros(rollouts), np.zeros(rollouts)
        self.canary_jobs, self.canary_bad = np.zeros(rollouts), np.zeros(rollouts)
        self.callers = None if before is not None or of is None else Callers(rollouts, of, self.levels.worse)

    def rolls_back(self, sides: Sides) -> Said:
        """Takes an interval in."""
        return self.rolls_back_classes(Sides(*(each[:, None] for each in sides)))

    def rolls_back_classes(self, classes: Sides) -> Said:
        """The same of counts by rollout and class, where only what is of one class is compared."""
        self._bet_on_ratio(classes)
        sides = summed(classes)
        self._bet_on_above(sides)
        self.stable_jobs += sides.stable_jobs
        self.stable_bad += sides.stable_bad
        self.canary_jobs += sides.canary_jobs
        self.canary_bad += sides.canary_bad
        needed = math.log(1 / self.levels.worse)
        value = eprocess.log_value(self.worse, self.worse_looks)
        is_above = eprocess.log_value(self.above, self.above_looks) >= needed
        is_worse = np.asarray((value >= needed + np.log(self.parts)) & is_above)
        return is_worse if self.callers is None else self.callers.stand_out(sides, value > 0, is_worse)

    def promotes(self) -> Said:
        """After the intervals so far, if it does not roll back."""
        needed = math.log(1 / self.levels.better)
        is_better = eprocess.mean_log(self.better) >= needed + np.log(self.parts)
        below = self.canary_bad < self.rule.limit * self.canary_jobs
        each = zip(self.canary_bad, self.canary_jobs, strict=True)
        proof = np.array([bounds.log_evidence(bad, jobs, self.rule.limit) for bad, jobs in each])
        return np.asarray(is_better | (below & (proof >= needed)))

    def _bet_on_ratio(self, classes: Sides) -> None:
        has_both = (classes.stable_jobs.sum(axis=1) > 0) & (classes.canary_jobs.sum(axis=1) > 0)
        expected = (self.stable_bad + 0.5) / (self.stable_jobs + 1)
        as_block = ((expected > FREQUENT) & (self.stable_jobs >= KNOWN_FROM))[:, None]

        def found(margin: Array, factors: Array) -> Array:
            bets = ratio.rare(classes, margin[:, None], factors).sum(axis=1)
            if as_block.any():
                blocks = ratio.frequent(classes, margin[:, None], factors, expected[:, None]).sum(axis=1)
                bets = np.where(as_block, blocks, bets)
            return np.asarray(bets)

        grown = eprocess.grown(self.worse, self.worse_looks, found(self.worse_margin, ratio.WORSE))
        self.worse = np.where(has_both[:, None], grown, self.worse)
        self.worse_looks = self.worse_looks + has_both
        self.better = self.better + found(self.better_margin, ratio.BETTER)

    def _bet_on_above(self, sides: Sides) -> None:
        found = shares.above(sides.canary_jobs, sides.canary_bad, self.rule.floor)
        has_any = sides.canary_jobs > 0
        self.above = np.where(has_any[:, None], eprocess.grown(self.above, self.above_looks, found), self.above)
        self.above_looks = self.above_looks + has_any


class Callers:
    """What was counted since each rollout's canary began to look worse, by cohort where that is asked."""

    def __init__(self, rollouts: int, of: Rates, level: float) -> None:
        self._of = of
        self._level = level
        self._since = Sides(*np.zeros((4, rollouts)))
        self._split: dict[int, tuple[Array, Array]] = {}  # and of which rollouts it was split
        self._counted: dict[int, Array] = {}  # up to what sums
        self._chance = np.random.default_rng(2)
        self._stood_out = np.zeros(rollouts, dtype=np.bool_)

    def stand_out(self, sides: Sides, looks_worse: Said, is_worse: Said) -> Said:
        """In which rollouts it is not the callers, of those where the version is worse."""
        since = (np.where(looks_worse, known + more, 0.0) for known, more in zip(self._since, sides, strict=True))
        self._since = Sides(*since)
        for rollout in [each for each in self._split if not looks_worse[each]]:
            del self._split[rollout], self._counted[rollout]
        for rollout in np.flatnonzero(is_worse & ~self._stood_out).tolist():
            self._stood_out[rollout] = self._stands_out(rollout)
        return is_worse & self._stood_out

    def _stands_out(self, rollout: int) -> bool:
        counted = np.array([each[rollout] for each in self._since])
        jobs, bad = counted[2:]
        if bad > MOST_OF_CALLERS * jobs and bounds.lower(bad, jobs, self._level) > MOST_OF_CALLERS:
            return True
        more = counted - self._counted.get(rollout, np.zeros(4))
        by_cohort, before = split(self._of, rollout, more, self._chance), self._split.get(rollout)
        if before is not None:
            by_cohort = by_cohort[0] + before[0], by_cohort[1] + before[1]
        self._split[rollout], self._counted[rollout] = by_cohort, counted
        return deals.part_as_bad(*by_cohort, self._of.moved) <= deals.LEVEL


def summed(classes: Sides) -> Sides:
    """Of all classes of a rollout together."""
    return Sides(*(each.sum(axis=1) for each in classes))


def tilts(before: Sides, worse_level: float, better_level: float) -> list[Tilt]:
    """As the judge knows them in its first step."""
    found = []
    for stable_jobs, stable_bad, canary_jobs, canary_bad in zip(*map(np.ndarray.tolist, before), strict=True):
        cohorts = {0: Tally(int(stable_jobs), int(stable_bad)), 99: Tally(int(canary_jobs), int(canary_bad))}
        known = History(0.0, {Kind.FAILED: cohorts})
        found.append(callers.tilt(known, Kind.FAILED, (99,), worse_level, better_level))
    return found


class ByMinute:
    """Values of each minute: the shares of bad jobs of both versions."""

    def __init__(self, rollouts: int) -> None:
        self._sums = np.zeros((4, rollouts))
        self._intervals = 0
        self.stable: list[Array] = []
        self.canary: list[Array] = []

    def is_over(self, sides: Sides) -> bool:
        """Takes an interval in; whether a minute ended with it."""
        self._sums += np.array(sides)
        self._intervals += 1
        if self._intervals % MINUTE:
            return False
        stable_jobs, stable_bad, canary_jobs, canary_bad = self._sums
        self.stable.append(stable_bad / np.maximum(stable_jobs, 1))
        self.canary.append(canary_bad / np.maximum(canary_jobs, 1))
        self._sums = np.zeros_like(self._sums)
        return True


class Kayenta(ByMinute):
    """Mann-Whitney as Kayenta's judge has it: the values of minutes, confidence 98 %, and a difference counts from a
    quarter of the estimate on; each minute anew, from the tenth on. (`NetflixACAJudge` as it comes, with one metric.)
    """

    FROM: Final = 10
    Z: Final = 2.326
    TOLERANCE: Final = 0.25

    def rolls_back(self, sides: Sides) -> Said:
        if not self.is_over(sides) or len(self.stable) < self.FROM:
            return np.zeros(len(sides.stable_jobs), dtype=np.bool_)
        stable, canary = np.array(self.stable).T, np.array(self.canary).T
        differences = np.sort((canary[:, :, None] - stable[:, None, :]).reshape(len(stable), -1), axis=1)
        minutes = stable.shape[1]
        at = int(minutes**2 / 2 - self.Z * math.sqrt(minutes**2 * (2 * minutes + 1) / 12))
        estimate = np.median(differences, axis=1)
        return np.asarray(differences[:, max(0, at)] > np.maximum(self.TOLERANCE * estimate, 0.0))


class Argo(ByMinute):
    """A threshold a measurement, as Argo Rollouts has it: each minute the canary's share of bad jobs may be the margin
    times the stable version's; more than `failureLimit` minutes where it is not roll back."""

    def __init__(self, rollouts: int, margin: float, failure_limit: int = 3) -> None:
        super().__init__(rollouts)
        self._margin, self._limit = margin, failure_limit
        self._failures = np.zeros(rollouts)

    def rolls_back(self, sides: Sides) -> Said:
        if self.is_over(sides):
            self._failures += self.canary[-1] > self._margin * self.stable[-1]
        return np.asarray(self._failures > self._limit)
