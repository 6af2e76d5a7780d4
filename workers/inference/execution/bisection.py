"""Finding the culprits of a failed run. Pure.

A run that fails is halved. Where the first half passes, the second must hold a culprit, so it is not run whole again
but halved in its turn: k culprits among n items cost O(k log n) runs, one culprit about 1.5 log2 n of them.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Runs items together: what became of each, or the error that took all of them along. Never raises.
Attempt = Callable[[Sequence[T]], "Sequence[R] | BaseException"]


def isolate(items: Sequence[T], attempt: "Attempt[T, R]") -> "list[R | BaseException]":
    """What becomes of each item, in order: what a run gave for it, or the error it raised when it ran alone.

    Nobody is condemned by inference. Where a run failed for a reason that no single item carries, every item ends up
    with a run of its own or with others, and passes.
    """
    answer = attempt(items)
    if not isinstance(answer, BaseException):
        return list(answer)
    return [answer] if len(items) == 1 else _halve(items, attempt)


def _halve(items: Sequence[T], attempt: "Attempt[T, R]") -> "list[R | BaseException]":
    """`items`, two or more, are known to fail together."""
    middle = len(items) // 2
    first, second = items[:middle], items[middle:]
    answer = attempt(first)
    if not isinstance(answer, BaseException):
        return [*answer, *(_halve(second, attempt) if len(second) > 1 else isolate(second, attempt))]
    ends: list[R | BaseException] = [answer] if len(first) == 1 else _halve(first, attempt)
    return ends + isolate(second, attempt)
