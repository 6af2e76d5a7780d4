"""Finding the culprits of a failed run. Pure.

Items are run in pieces, from the first to the last. A piece that passes is done with. Of one that fails a smaller one
is run next, until an item fails alone; what was behind it in the failed piece is then as unknown as the others, and
runs with them. Where the first part of a failed piece passes, the rest must hold a culprit, so it is not run whole
again. How large pieces are, `PieceSizes` says; k culprits among n items never cost more than n + k (1 + log2 n) runs.
Where there was no room for a piece nobody is a culprit, so each half of it is run whole.

It is a generator: it pauses wherever `attempt` does, so that others may run between two runs.
"""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from workers.inference.execution.failures import Failure, Scope
from workers.inference.execution.piece_sizes import PieceSizes

T = TypeVar("T")
R = TypeVar("R")

# What takes several runs, with pauses between them.
Steps = Generator[None, None, T]
# Runs items together: what became of each, or the failure that took all of them along. Never raises, but for what ends
# the process.
Attempt = Callable[[Sequence[T]], Steps[Sequence[R] | Failure]]


def isolate(items: Sequence[T], attempt: "Attempt[T, R]", sizes: PieceSizes) -> "Steps[list[R | Failure]]":
    """What becomes of each item, in order: what a run gave for it, or the failure when it ran alone.

    No item fails because of what others did: where a run failed for a reason that no single item carries, every item
    ends up with a run of its own or with others, and passes. Only a failure of which no part may pass is everybody's
    who has no end yet, where several ran: each would wait for it anew.
    """
    ends: list[R | Failure] = []
    failing = 0  # so many of the next are known to fail together
    room_ends = [len(items)]  # what runs together ends before the last of these
    while (start := len(ends)) < len(items):
        while room_ends[-1] == start:
            room_ends.pop()
        size = min(sizes.next(len(items) - start, failing), room_ends[-1] - start)
        answer = yield from attempt(items[start : start + size])
        if not isinstance(answer, Failure):
            ends += answer
            sizes.good += size
            failing = max(0, failing - size)
        elif size > 1 and answer.may_pass_in_parts:
            if answer.no_room:
                room_ends.append(start + size // 2)
            else:
                failing = size
        elif size == 1 or answer.scope is Scope.ROW:
            ends += [answer] * size
            sizes.bad += answer.scope is Scope.ROW and not answer.no_room
            failing = 0
        else:
            ends += [answer] * (len(items) - start)
    return ends
