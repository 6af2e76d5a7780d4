"""What the judge of rollouts gets right and wrong, in simulated rollouts: many of each kind, seeded.

False rollbacks of a version that is as the stable one, beside the rules of others; how soon a bad version is found, and
a good one goes on; what is said of a split. docs/statistics.md has the meaning. Takes some minutes of one core.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np

from benchmarks.figures import Table
from benchmarks.models import Models
from benchmarks.rollout_judges import Argo, Judge, Kayenta, Said, summed
from benchmarks.rollout_traffic import Keys, Rates, Traffic, history, intervals, rates
from schemas.rollouts import Guardrail, Kind
from workers.rollout.judging import exposures
from workers.rollout.judging.eprocess import Array
from workers.rollout.judging.evidence import Exposures
from workers.rollout.judging.ratio import Sides

ROLLOUTS: Final = 1_000
GUARDRAIL: Final = Guardrail(Kind.FAILED)
# 5 s each: 50 minutes.
LOOKS: Final = 600
AN_HOUR: Final = 720
SHORT_HISTORY: Final = 20_000.0
_BEFORE_TOLD: Final = ("nothing known", "20,000 jobs before", "an hour before")

_FEW: Final = Keys(50, spread=1.5, zipf=1.2)
_MORE: Final = Keys(200, spread=1.0, zipf=1.0)
# Of versions that do not differ. Keys stay with their version, so that each run draws who is with which.
ALIKE: Final = {
    "a key for each job, 1 % bad": Traffic(0.01),
    "a key for each job, 30 % bad": Traffic(0.3),
    "200 keys, Zipf 1.0, 2 % bad": Traffic(0.02, keys=_MORE, share=0.1),
    "50 keys, Zipf 1.2, 2 % bad": Traffic(0.02, keys=_FEW, share=0.1),
    "load +-90 % and bad jobs +-80 %": Traffic(0.01, swing=0.8, load=0.9),
}
WORSE: Final = {
    "all jobs fail": Traffic(0.01, factor=100),
    "1 % to 5 %": Traffic(0.01, factor=5),
    "0 to 1 %": Traffic(0.0, at_least=0.01),
    "1 % to 5 %, bad jobs +-80 %": Traffic(0.01, factor=5, swing=0.8),
    "20 % to 50 %": Traffic(0.2, factor=2.5),
    "1 % to 2 %": Traffic(0.01, factor=2),
}
GOOD: Final = {
    "no bad jobs": Traffic(0.0),
    "0.1 % as before": Traffic(0.001),
    "1 % as before": Traffic(0.01),
    "1 % as before, half of the traffic": Traffic(0.01, share=0.5),
    "5 % as before": Traffic(0.05),
    # It is at the edge of what may go on: in 1 of 20 rollouts at most.
    "2 % instead of 1 %": Traffic(0.01, factor=2.0),
}


class Found(NamedTuple):
    """Of each rollout: whether it was decided, back or on, and after how many jobs of the canary."""

    decided: Said
    jobs: Array


async def measure(_models: Models, _rounds: int, shorten: int) -> list[Table]:
    tables = (false_rollbacks, unequal_sizes, found_bad, promoted, splits)
    return [table(ROLLOUTS // shorten) for table in tables]


def false_rollbacks(rollouts: int) -> Table:
    rows = [[name, *map(_percent, _false_of(traffic, rollouts))] for name, traffic in ALIKE.items()]
    known = [f"ours, {told}" for told in _BEFORE_TOLD]
    title = f"Rolled back although as good as the stable version, within {LOOKS} looks"
    return Table(title, ["rollouts of", *known, "Kayenta", "Argo"], rows)


def _false_of(traffic: Traffic, rollouts: int) -> list[float]:
    found = [ours(traffic, rollouts, LOOKS, before) for before in _before(traffic)]
    for judge in (Kayenta(rollouts), Argo(rollouts, GUARDRAIL.margin)):
        of, chance = _start(traffic, rollouts)
        found.append(looked(judge.rolls_back, intervals(traffic, of, LOOKS, chance), rollouts))
    return [float(each.decided.mean()) for each in found]


def _before(traffic: Traffic) -> tuple[float | None, ...]:
    return None, SHORT_HISTORY, AN_HOUR * traffic.jobs


def ours(traffic: Traffic, rollouts: int, looks: int, before: float | None = None) -> Found:
    """By our judge; `before` are the jobs that the stable version is known by."""
    of, chance = _start(traffic, rollouts)
    known = None if before is None else history(of, before, chance)
    return looked(Judge(rollouts, GUARDRAIL, known, of).rolls_back, intervals(traffic, of, looks, chance), rollouts)


def looked(decides: Callable[[Sides], Said], counted: Iterator[Sides], rollouts: int) -> Found:
    """Until all are decided, or nothing more was counted."""
    decided, jobs = np.zeros(rollouts, dtype=np.bool_), np.zeros(rollouts)
    for sides in counted:
        jobs += np.where(decided, 0.0, sides.canary_jobs)
        decided |= decides(sides)
        if decided.all():
            break
    return Found(decided, jobs)


def unequal_sizes(rollouts: int) -> Table:
    """Runs of the same speed, of which the canary's are smaller, and so take longer a row."""
    told = {"each class by itself": True, "all classes together": False}
    rows = [[name, _percent(_slow(rollouts, by_class).mean())] for name, by_class in told.items()]
    title = "Rolled back as slow although as fast, where the canary's micro-batches are smaller"
    return Table(title, ["runs compared", "rolled back"], rows)


def _slow(rollouts: int, by_class: bool) -> Said:
    # Runs in an interval by class of size, the smallest first, and the share of them that is above the line: 5 % above
    # that of their own class; above one line for all, small ones more often.
    stable, canary = np.array([5.0, 15.0, 80.0]), np.array([15.0, 8.0, 1.0])
    slow = np.array([0.05, 0.05, 0.05] if by_class else [0.4, 0.1, 0.02])
    chance = np.random.default_rng(1)

    def drawn(runs: Array) -> tuple[Array, Array]:
        bad = chance.poisson(runs * slow, (rollouts, 3)).astype(np.float64)
        return bad + chance.poisson(runs * (1 - slow), (rollouts, 3)), bad

    judge, rolled_back = Judge(rollouts, Guardrail(Kind.SLOW)), np.zeros(rollouts, dtype=np.bool_)
    for _ in range(LOOKS):
        sides = Sides(*drawn(stable), *drawn(canary))
        rolled_back |= judge.rolls_back_classes(sides) if by_class else judge.rolls_back(summed(sides))
    return rolled_back


def found_bad(rollouts: int) -> Table:
    rows = [
        [name, *(_when(ours(traffic, rollouts, LOOKS, before)) for before in _before(traffic))]
        for name, traffic in WORSE.items()
    ]
    title = (
        f"Jobs of the canary until it is rolled back, at 5 % of 100 jobs/s: median, 90 % of rollouts ({LOOKS} looks)"
    )
    return Table(title, ["worse", *_BEFORE_TOLD], rows)


def _when(found: Found) -> str:
    jobs = np.where(found.decided, found.jobs, np.inf)
    median, most = (float(np.quantile(jobs, part, method="higher")) for part in (0.5, 0.9))
    missed = 1 - found.decided.mean()
    return f"{_jobs(median)}, {_jobs(most)}" + (f" ({_percent(missed)} never)" if missed else "")


def promoted(rollouts: int) -> Table:
    few = max(10, rollouts // 5)
    rows = [[name, _when(until_promoted(traffic, few))] for name, traffic in GOOD.items()]
    return Table("Jobs of the canary until a version may go on: median, 90 % of rollouts", ["good", "jobs"], rows)


def until_promoted(traffic: Traffic, rollouts: int, looks: int = 3 * LOOKS) -> Found:
    of, chance = _start(traffic, rollouts)
    judge = Judge(rollouts, GUARDRAIL)

    def promotes(sides: Sides) -> Said:
        judge.rolls_back(sides)
        return judge.promotes()

    return looked(promotes, intervals(traffic, of, looks, chance), rollouts)


def splits(rollouts: int) -> Table:
    """Of a route of 90 to 10. One key has 30 % of the jobs; the others have a few each."""
    rows = []
    for told, delivered, by_keys in (
        ("95/5, keys counted", 0.05, True),
        ("90/10, keys counted", 0.1, True),
        ("85/15, keys counted", 0.15, True),
        ("90/10, jobs counted", 0.1, False),
    ):
        held = np.array([_held(delivered, by_keys, seed) for seed in range(rollouts)])
        soon = float((held <= 1_000).mean())
        most = float(np.quantile(held, 0.9, method="higher"))
        rows.append([told, _percent(soon), _percent(np.isfinite(held).mean()), _jobs(most)])
    columns = ["delivered", "held within 1,000", "within 2,000", "90 % after"]
    return Table("A split of 90/10, held as a mismatch, by first exposures of keys, or by jobs", columns, rows)


def _held(delivered: float, by_keys: bool, seed: int) -> float:
    """After how many exposures."""
    chance = np.random.default_rng(seed)
    is_heavy = np.zeros(2_000, dtype=np.bool_) if by_keys else chance.random(2_000) < 0.3
    heavy, others = chance.random() < delivered, chance.random(2_000) < delivered
    with_canary = np.where(is_heavy, heavy, others).cumsum()
    for seen in range(50, 2_001, 50):
        canary = int(with_canary[seen - 1])
        if exposures.is_mismatch(Exposures(stable=seen - canary, canary=canary), 0.1):
            return float(seen)
    return float("inf")


def _start(traffic: Traffic, rollouts: int) -> tuple[Rates, np.random.Generator]:
    chance = np.random.default_rng(1)
    return rates(traffic, rollouts, chance), chance


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _jobs(count: float) -> str:
    return f"{count:,.0f}" if np.isfinite(count) else "more"
