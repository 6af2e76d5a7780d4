"""Submit-to-result latency at a steady rate, open loop, and the processor time that each part takes for a job.

The stack is a fresh one, as `penstock up --ephemeral` starts it; that of an older checkout is measured in turns with
this one, and so are two other systems that serve the same model.
"""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.digits_peers import body, celery, mosec
from benchmarks.figures import Rounds, Table, amount
from benchmarks.installation import PARTS, installation
from benchmarks.load import Outcome, Target, Way
from benchmarks.models import Models
from benchmarks.one_bad_row import PEERS

SECONDS = 10.0
WARM_S, WARM_PER_S = 5.0, 500
PATH = "/v1/models/digits/versions/1/jobs"
CLIENT = "client"


class Kind(NamedTuple):
    """One load, and what is aimed at: p50 and p99 in milliseconds."""

    name: str
    way: Way
    per_s: int
    goal: str = ""


KINDS = (
    Kind("waiting, 100 jobs/s", Way.WAIT, 100, "6 / 12"),
    Kind("waiting, 500 jobs/s", Way.WAIT, 500, "8 / 20"),
    Kind("waiting, 1,000 jobs/s", Way.WAIT, 1000, "12 / 30"),
    Kind("polling, 500 jobs/s", Way.POLL, 500, "20 / 50"),
)
CELERY = (
    Kind("Celery with Redis behind FastAPI, polling, 100 jobs/s", Way.POLL, 100),
    Kind("Celery with Redis behind FastAPI, polling, 500 jobs/s", Way.POLL, 500),
)
MOSEC = (Kind("mosec, waiting, 500 jobs/s", Way.WAIT, 500),)


class Run(NamedTuple):
    """One round of one kind; processor time in microseconds a job."""

    p50_ms: float
    p99_ms: float
    unanswered: int
    cpu_us: Mapping[str, float]

    @classmethod
    def of(cls, outcome: Outcome, cpu_s: Mapping[str, float]) -> "Run":
        return cls(
            percentile_ms(outcome.took_s, 50),
            percentile_ms(outcome.took_s, 99),
            outcome.unanswered,
            outcome.each_us({**cpu_s, CLIENT: outcome.cpu_s}),
        )

    @property
    def served_ms(self) -> float:
        """Processor time of everything but the client."""
        return sum(used for part, used in self.cpu_us.items() if part != CLIENT) / 1000


Found = dict[tuple[str, str], list[Run]]


def percentile_ms(took_s: Sequence[float], percent: int) -> float:
    return statistics.quantiles(took_s, n=100, method="inclusive")[percent - 1] * 1000


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    found: Found = defaultdict(list)
    ours = [kind for kind in KINDS if models.wants(kind.name)]
    for _ in range(rounds):
        for name, checkout in models.checkouts().items() if ours else ():
            async with installation(checkout) as stack:
                await _round(found, name, Target(stack.port, PATH, body(), stack.cpu_s), ours, shorten)
        for kinds, peer in ((CELERY, celery), (MOSEC, mosec)):
            wanted = [kind for kind in kinds if models.wants(kind.name)]
            if PEERS.exists() and wanted:
                async with peer() as target:
                    await _round(found, "", target, wanted, shorten)
    return _tables(found)


async def _round(found: Found, checkout: str, target: Target, kinds: Sequence[Kind], shorten: int) -> None:
    await target.under(kinds[0].way, WARM_S / shorten, per_s=WARM_PER_S if checkout else kinds[0].per_s)
    for kind in kinds:
        run = Run.of(*await target.under(kind.way, SECONDS / shorten, per_s=kind.per_s))
        found[kind.name, checkout].append(run)


def _tables(found: Found) -> list[Table]:
    rows = [
        (kind, checkout, runs)
        for kind in (*KINDS, *CELERY, *MOSEC)
        for (name, checkout), runs in found.items()
        if name == kind.name
    ]
    return [
        Table(
            "Submit to result, open loop",
            ["load", "checkout", "p50, ms", "p99, ms", "goal, ms", "no answer", "processor time a job, ms"],
            [_latency(*row) for row in rows],
        ),
        Table(
            "Processor time a job by part, in microseconds",
            ["load", "checkout", *PARTS, CLIENT],
            [[kind.name, checkout, *(_used(runs, part) for part in (*PARTS, CLIENT))] for kind, checkout, runs in rows],
        ),
    ]


def _latency(kind: Kind, checkout: str, runs: Sequence[Run]) -> list[str]:
    p50, p99, served = (
        Rounds([run[0] for run in runs]),
        Rounds([run[1] for run in runs]),
        Rounds([run.served_ms for run in runs]),
    )
    return [kind.name, checkout, str(p50), str(p99), kind.goal, str(sum(run.unanswered for run in runs)), str(served)]


def _used(runs: Sequence[Run], part: str) -> str:
    values = [run.cpu_us[part] for run in runs if part in run.cpu_us]
    return amount(Rounds(values).median) if values else ""
