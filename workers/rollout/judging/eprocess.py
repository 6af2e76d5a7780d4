"""E-processes: bets against a null hypothesis that may be looked at after every interval.

Someone who bets one unit against a true null has more than 1/a units, ever, with a probability of at most a (Ville
1939; Ramdas, Gruenwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", 2023). The
unit is spread over alternatives in equal parts, and within each over the interval from which on it holds: what
goes wrong only after an hour is found as well. `log_ratios` are those of an interval: of what it held under each
alternative and under the null.

All take arrays whose last axis are the alternatives, of one process or of many beside each other.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.ratios import mean_log

Array = NDArray[np.float64]

# So much is bet on alternatives that hold from the start. The rest is spread over all later intervals: t gets
# 1/(t(t-1)) of it, which adds up to 1.
FROM_THE_START: Final = 0.9


def unused(alternatives: int) -> Array:
    """The logs of a process that has not looked yet."""
    return np.full(alternatives, -np.inf)


def grown(logs: Array, looks: Array | int, log_ratios: Array) -> Array:
    """The logs after one more look; there were `looks` before."""
    return np.logaddexp(logs, np.log(_started_at(looks))) + log_ratios


def log_value(logs: Array, looks: Array | int) -> Array:
    """The log of what the unit has become after `looks`: of the mean over alternatives and what is not bet yet."""
    return np.logaddexp(mean_log(logs), np.log(_left_after(looks)))


def _started_at(looks: Array | int) -> Array:
    before = np.maximum(np.asarray(looks, dtype=np.float64), 0.5)  # of no use at 0, and not divided by
    share = np.where(np.asarray(looks) == 0, FROM_THE_START, (1 - FROM_THE_START) / (before * (before + 1)))
    return share[..., None]


def _left_after(looks: Array | int) -> Array:
    seen = np.asarray(looks, dtype=np.float64)
    return np.where(seen == 0, 1.0, (1 - FROM_THE_START) / np.maximum(seen, 1.0))
