"""What goes wrong in a chaos run, and when: a schedule as data, drawn from a seed."""

import random
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    KILL = "SIGKILL"
    TERMINATE = "SIGTERM"
    FORGET = "flush"  # of Redis: it stays, and all that it knew is gone


class Fault(NamedTuple):
    """`at_s`: seconds from the start of the run. `down_s`: how long the part then stays away."""

    at_s: float
    kind: Kind
    part: str
    down_s: float


class Rule(NamedTuple):
    """Something that happens every `every_s` seconds, and once at least, to one of the parts, whichever.

    `down_s`: the least and the most. `until`: after this share of the run it happens no more.
    """

    kind: Kind
    parts: Sequence[str]
    every_s: float
    down_s: tuple[float, float] = (0.0, 1.0)
    until: float = 0.9


def rules(workers: Sequence[str]) -> list[Rule]:
    """All that a stack must bear. Services come back at once, as their own supervisors would have it."""
    return [
        Rule(Kind.KILL, workers, every_s=8, down_s=(0, 5)),
        Rule(Kind.TERMINATE, workers, every_s=8, down_s=(0, 5)),
        Rule(Kind.KILL, ["sink"], every_s=30, down_s=(0, 2)),
        Rule(Kind.TERMINATE, ["sink"], every_s=30, down_s=(0, 2)),
        Rule(Kind.KILL, ["router"], every_s=30, down_s=(0, 2)),
        Rule(Kind.TERMINATE, ["router"], every_s=60, down_s=(0, 2)),
        Rule(Kind.KILL, ["gateway"], every_s=40),
        Rule(Kind.TERMINATE, ["gateway"], every_s=40),
        Rule(Kind.TERMINATE, ["Kafka"], every_s=120),
        Rule(Kind.KILL, ["Kafka"], every_s=120),
        Rule(Kind.TERMINATE, ["Postgres"], every_s=120),
        Rule(Kind.KILL, ["Postgres"], every_s=120),
        Rule(Kind.TERMINATE, ["Valkey"], every_s=120, down_s=(3, 6)),
        Rule(Kind.KILL, ["Valkey"], every_s=120),
        Rule(Kind.FORGET, ["Valkey"], every_s=20, down_s=(0, 0)),
    ]


def schedule(seed: int, duration_s: float, rules: Sequence[Rule]) -> list[Fault]:
    """The faults of a run of this length, in order of time. The same seed, the same faults."""
    chance = random.Random(seed)  # noqa: S311 - dice
    return sorted(fault for rule in rules for fault in _drawn(chance, duration_s * rule.until, rule))


def _drawn(chance: random.Random, within_s: float, rule: Rule) -> Iterator[Fault]:
    """Once in each of equal spans of time, so that chance leaves no long quiet."""
    times = max(1, round(within_s / rule.every_s))
    for number in range(times):
        at_s = within_s / times * (number + chance.random())
        yield Fault(at_s, rule.kind, chance.choice(rule.parts), chance.uniform(*rule.down_s))
