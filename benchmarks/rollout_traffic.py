"""Traffic of two versions, of many rollouts beside each other: arrays of one number a rollout.

Jobs come as a Poisson process, of keys that differ in how much they send and how often their jobs are bad; a key's hash
gives it to one version for good. Sums of Poisson counts are Poisson counts, so that each rollout needs its keys only
once: for the four rates of good and bad jobs.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from workers.rollout.judging.eprocess import Array
from workers.rollout.judging.ratio import Sides


class Keys(NamedTuple):
    """Who sends the jobs. `number` of 0: every job is of a key of its own. `spread` is the standard deviation of the
    logarithm of how often a key's jobs are bad, `zipf` the exponent of how much keys send."""

    number: int = 0
    spread: float = 0.0
    zipf: float = 0.0


class Traffic(NamedTuple):
    """`bad` is the share of bad jobs on the stable version, on average; the version that is rolled out has
    `factor` times as many, and at least `at_least`. By `swing` and `load`, parts of 1, the share of bad jobs and the
    number of jobs go up and down, together for both versions. `share` is what the new version gets."""

    bad: float
    factor: float = 1.0
    at_least: float = 0.0
    keys: Keys = Keys()
    jobs: float = 500.0
    share: float = 0.05
    swing: float = 0.0
    load: float = 0.0


class Rates(NamedTuple):
    """Of one rollout each: what part of all jobs is the stable version's and the canary's, and of all jobs, is bad on
    the stable version whoever runs them."""

    stable: Array
    canary: Array
    stable_bad: Array
    canary_bad: Array


def rates(traffic: Traffic, rollouts: int, chance: np.random.Generator) -> Rates:
    if traffic.keys.number == 0:
        one = np.ones(rollouts)
        share, bad = traffic.share, traffic.bad
        return Rates(one * (1 - share), one * share, one * (1 - share) * bad, one * share * bad)
    shape = (rollouts, traffic.keys.number)
    sent = np.arange(1, traffic.keys.number + 1) ** -traffic.keys.zipf
    sent = sent / sent.sum()
    spread = traffic.keys.spread
    often = np.minimum(traffic.bad * np.exp(spread * chance.standard_normal(shape) - spread**2 / 2), 1.0)
    moved = chance.random(shape) < traffic.share
    return Rates(
        (sent * ~moved).sum(axis=1),
        (sent * moved).sum(axis=1),
        (sent * often * ~moved).sum(axis=1),
        (sent * often * moved).sum(axis=1),
    )


def intervals(traffic: Traffic, of: Rates, count: int, chance: np.random.Generator) -> Iterator[Sides]:
    """One after the other, each of all rollouts."""
    turn = chance.random(len(of.stable)) * 2 * np.pi
    for at in range(count):
        jobs = traffic.jobs * (1 + traffic.load * np.sin(turn + at / 11))
        swing = 1 + traffic.swing * np.sin(turn + at / 7)
        canary_bad = np.maximum(of.canary_bad * swing * traffic.factor, of.canary * traffic.at_least)
        yield _drawn(
            jobs,
            (of.stable, np.minimum(of.stable_bad * swing, of.stable)),
            (of.canary, np.minimum(canary_bad, of.canary)),
            chance,
        )


def history(of: Rates, jobs: float, chance: np.random.Generator) -> Sides:
    """What the same keys did before, all with the stable version: of so many jobs in all."""
    sides = (of.stable, of.stable_bad), (of.canary, of.canary_bad)
    return _drawn(np.full(len(of.stable), jobs), *sides, chance)


def _drawn(jobs: Array, stable: tuple[Array, Array], canary: tuple[Array, Array], chance: np.random.Generator) -> Sides:
    drawn = []
    for part, bad in (stable, canary):
        of_bad = chance.poisson(jobs * bad).astype(np.float64)
        drawn += [of_bad + chance.poisson(jobs * np.maximum(part - bad, 0.0)), of_bad]
    return Sides(*drawn)
