"""Thompson sampling over versions, for weights of a route: never for a job, or callers would change versions."""

from collections.abc import Mapping

import numpy as np

from workers.rollout.judging.evidence import Tally

_DRAWS = 4_000


def weights(
    outcomes: Mapping[str, Tally], before: Mapping[str, float], *, floor: float, max_step: float, seed: int
) -> dict[str, float]:
    """The share of the traffic for each version, 0 to 1: the probability that it is the best, by Beta(1, 1) priors and
    the outcomes so far (`bad` of `jobs`).

    No version gets less than `floor`, nor more or less than `before` by over `max_step`, where all that can be had
    together: the shares add up to 1. The same seed gives the same weights. Give it outcomes that had time to come in:
    else a version whose good ones come late looks bad.
    """
    names = sorted(outcomes)
    if not 0 <= floor <= 1 / max(1, len(names)):
        raise ValueError(f"floor of {floor}: {len(names)} versions cannot all have so much")
    chance = np.random.default_rng(seed)
    good = np.array([outcomes[name].jobs - outcomes[name].bad for name in names])
    bad = np.array([outcomes[name].bad for name in names])
    best = chance.beta(1 + good, 1 + bad, (_DRAWS, len(names))).argmax(axis=1)
    wanted = np.bincount(best, minlength=len(names)) / _DRAWS
    wanted = floor + (1 - floor * len(names)) * wanted
    had = np.array([before.get(name, 0.0) for name in names])
    moved = had + (wanted - had) * _part(np.abs(wanted - had).max(initial=0.0), max_step)
    return dict(zip(names, map(float, moved), strict=True))


def _part(farthest: float, max_step: float) -> float:
    """How much of the way is gone: all versions the same part, so that their shares still add up."""
    return 1.0 if farthest <= max_step else max_step / farthest
