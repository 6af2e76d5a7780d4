"""`python -m benchmarks [worker] [submit] ...`: measure, print, and write each part's tables into README.md."""

import argparse
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import uvloop

from benchmarks.figures import machine, write
from benchmarks.models import Models
from benchmarks.sharing import sharing

# By name the modules that measure, each imported when it is asked for: all of them take seconds.
MEASUREMENTS = {
    "worker": "worker_rate",
    "submit": "submit_rate",
    "routing": "routing",
    "latency": "latency",
    "throughput": "throughput",
    "causes": "causes",
    "bad-row": "one_bad_row",
    "mixed-lengths": "mixed_lengths",
    "poison": "poison",
    "blocks": "blocks",
    "division": "division",
    "priority": "priority",
    "adaptive": "adaptive",
    "scaling": "scaling",
    "recovery": "recovery",
    "retention": "retention",
    "webhooks": "webhooks",
    "broker": "broker",
    "clients": "clients",
    "gpu": "gpu",
    "rollouts": "rollout_simulation",
    "bulk": "bulk",
    "promises": "promise_simulation",
    "promised-batches": "promised_batches",
}

# Rounds so short show that the measurements work, and no more: they share their services.
NO_FIGURES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=[[], *MEASUREMENTS], help="all of them, if none is named")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken")
    parser.add_argument("--shorten", type=int, default=1, help="divide the length of each round by this")
    parser.add_argument("--minilm", type=Path, help="model repository of the transformer example")
    parser.add_argument("--only", action="append", default=[], help="workloads and rows that begin so; may be repeated")
    parser.add_argument("--against", type=Path, help="an older checkout with its own .venv, to measure beside this one")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/README.md")
    asked = parser.parse_args()
    uvloop.run(_run(asked))


async def _run(asked: argparse.Namespace) -> None:
    async with sharing() if asked.shorten >= NO_FIGURES else nullcontext():
        await _measure(asked)


async def _measure(asked: argparse.Namespace) -> None:
    models = Models(asked.minilm, asked.only, asked.against)
    for name in asked.what or MEASUREMENTS:
        measure = import_module(f"benchmarks.{MEASUREMENTS[name]}").measure
        tables = await measure(models, asked.rounds, asked.shorten)
        for table in tables:
            sys.stdout.write(f"\n{table.markdown()}\n")
            sys.stdout.flush()
        if asked.write and tables:
            today = datetime.now(UTC).date().isoformat()
            shortened = f", shortened to 1/{asked.shorten}" if asked.shorten > 1 else ""
            how = f"Medians of {asked.rounds} rounds (lowest to highest){shortened}, {today}, on {machine()}."
            write(name, list(MEASUREMENTS), tables, how)


if __name__ == "__main__":
    main()
