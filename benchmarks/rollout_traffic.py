"""Traffic of two versions, of many rollouts beside each other: arrays of one number a rollout.

Jobs come as a Poisson process, of keys that differ in how much they send and how often their jobs are bad; a key's hash
gives it to one version for good. Sums of Poisson counts are Poisson counts, so that each rollout needs its keys only
once: for the four rates of good and bad jobs.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from schemas.routes import COHORTS
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
    the stable version whoever runs them. `jobs` and `bad` are the same by cohort, of which the last `moved` are the
    canary's."""

    stable: Array
    canary: Array
    stable_bad: Array
    canary_bad: Array
    jobs: Array
    bad: Array
    moved: int


def rates(traffic: Traffic, rollouts: int, chance: np.random.Generator) -> Rates:
    if traffic.keys.number == 0:
        even = np.full((rollouts, COHORTS), 1 / COHORTS)
        return _dealt(even, even * traffic.bad, traffic.share)
    shape = (rollouts, traffic.keys.number)
    sent = np.arange(1, traffic.keys.number + 1) ** -traffic.keys.zipf
    sent = sent / sent.sum()
    spread = traffic.keys.spread
    often = np.minimum(traffic.bad * np.exp(spread * chance.standard_normal(shape) - spread**2 / 2), 1.0)
    jobs, bad = np.zeros((rollouts, COHORTS)), np.zeros((rollouts, COHORTS))
    cohorts = chance.integers(0, COHORTS, shape)
    rows = np.broadcast_to(np.arange(rollouts)[:, None], shape)
    np.add.at(jobs, (rows, cohorts), np.broadcast_to(sent, shape))
    np.add.at(bad, (rows, cohorts), sent * often)
    return _dealt(jobs, bad, traffic.share)


def _dealt(jobs: Array, bad: Array, share: float) -> Rates:
    moved = round(share * COHORTS)
    stable, canary = slice(0, COHORTS - moved), slice(COHORTS - moved, COHORTS)
    return Rates(
        jobs[:, stable].sum(axis=1),
        jobs[:, canary].sum(axis=1),
        bad[:, stable].sum(axis=1),
        bad[:, canary].sum(axis=1),
        jobs,
        bad,
        moved,
    )


def split(of: Rates, rollout: int, counted: Array, chance: np.random.Generator) -> tuple[Array, Array]:
    """Jobs and bad jobs by cohort, the canary's first, of what one rollout has `counted`, in the order of `Sides`: good
    and bad ones each by the cohorts' parts of them."""
    jobs, bad = of.jobs[rollout], of.bad[rollout]
    sums = counted.astype(int).tolist()
    found = []
    for side, (all_jobs, all_bad) in ((slice(-of.moved, None), sums[2:]), (slice(0, -of.moved), sums[:2])):
        of_bad = _parted(all_bad, bad[side], jobs[side], chance)
        found.append((of_bad + _parted(all_jobs - all_bad, jobs[side] - bad[side], jobs[side], chance), of_bad))
    (canary, canary_bad), (stable, stable_bad) = found
    return np.concatenate([canary, stable]), np.concatenate([canary_bad, stable_bad])


def _parted(count: int, parts: Array, otherwise: Array, chance: np.random.Generator) -> Array:
    parts = parts if parts.sum() > 0 else otherwise
    return chance.multinomial(count, parts / parts.sum()).astype(np.float64)


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
