"""Finding the culprits of a failed run. Pure.

A run that fails is halved. Where the first half passes, the second must hold a culprit, so it is not run whole again
but halved in its turn: k culprits among n items cost O(k log n) runs, one culprit about 1.5 log2 n of them. Where there
was no room for all of them nobody is a culprit, so each half is run whole.

It is a generator: it pauses wherever `attempt` does, so that others may run between two runs.
"""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from workers.inference.execution.failures import Failure

T = TypeVar("T")
R = TypeVar("R")

# What takes several runs, with pauses between them.
Steps = Generator[None, None, T]
# Runs items together: what became of each, or the failure that took all of them along. Never raises, but for what ends
# the process.
Attempt = Callable[[Sequence[T]], Steps[Sequence[R] | Failure]]


def isolate(items: Sequence[T], attempt: "Attempt[T, R]") -> "Steps[list[R | Failure]]":
    """What becomes of each item, in order: what a run gave for it, or the failure when it ran alone.

    No item fails because of what others did: where a run failed for a reason that no single item carries, every item
    ends up with a run of its own or with others, and passes. Only a failure of which no part may pass is everybody's.
    """
    answer = yield from attempt(items)
    if not isinstance(answer, Failure):
        return list(answer)
    return (yield from _in_parts(items, answer, attempt))


def _in_parts(items: Sequence[T], failure: Failure, attempt: "Attempt[T, R]") -> "Steps[list[R | Failure]]":
    """`items` are known to fail together."""
    if len(items) == 1 or not failure.may_pass_in_parts:
        return [failure] * len(items)
    middle = len(items) // 2
    first, second = items[:middle], items[middle:]
    if failure.no_room:
        return [*(yield from isolate(first, attempt)), *(yield from isolate(second, attempt))]
    answer = yield from attempt(first)
    if not isinstance(answer, Failure):
        rest = _in_parts(second, failure, attempt) if len(second) > 1 else isolate(second, attempt)
        return [*answer, *(yield from rest)]
    return [*(yield from _in_parts(first, answer, attempt)), *(yield from isolate(second, attempt))]
