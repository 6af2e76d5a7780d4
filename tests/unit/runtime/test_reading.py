"""Where inputs are read, and what is held meanwhile."""

import threading

import pytest

from runtime.budget import MemoryBudget
from runtime.reading import INLINE_BYTES, INLINE_IMAGE_BYTES, READ_FACTOR, InputReader
from schemas.errors import InvalidInput, PayloadTooLarge, Unavailable
from schemas.images import Hold

MIB = 1024 * 1024


def where(hold: Hold, *image_bytes: int) -> str:
    """The thread that reads an input with images of so many bytes."""
    for each in image_bytes:
        hold(each)
    return threading.current_thread().name.partition("_")[0]


HERE = threading.current_thread().name


@pytest.mark.parametrize(
    ("payload_bytes", "image_bytes", "thread"),
    [
        (INLINE_BYTES, 0, HERE),
        (INLINE_BYTES, INLINE_IMAGE_BYTES, HERE),
        (INLINE_BYTES, INLINE_IMAGE_BYTES + 1, "images"),
        (INLINE_BYTES + 1, 0, "large-inputs"),
        (INLINE_BYTES + 1, INLINE_IMAGE_BYTES + 1, "images"),
    ],
)
async def test_what_takes_long_is_read_beside_the_loop(payload_bytes: int, image_bytes: int, thread: str) -> None:
    budget = MemoryBudget(200 * MIB)
    reader = InputReader(budget)
    assert await reader.run(payload_bytes, lambda hold: where(hold, image_bytes)) == thread
    assert budget.held_bytes == 0


async def test_a_file_that_is_an_image_goes_to_their_threads_at_once() -> None:
    reader = InputReader(MemoryBudget(MIB))
    assert await reader.run(INLINE_BYTES + 1, where, is_image=True) == "images"


async def test_what_an_input_takes_is_held_while_it_is_read() -> None:
    budget = MemoryBudget(200 * MIB)
    reader = InputReader(budget)

    def held(hold: Hold) -> int:
        hold(2 * MIB)
        return budget.held_bytes

    assert await reader.run(1, held) == 2 * MIB
    assert await reader.run(MIB, lambda _hold: budget.held_bytes) == READ_FACTOR * MIB
    assert budget.held_bytes == 0


async def test_without_room_in_the_budget_the_caller_is_told_to_try_again() -> None:
    budget = MemoryBudget(200 * MIB)
    reader = InputReader(budget)
    with budget.hold("others") as others:
        others.grow(198 * MIB)
        with pytest.raises(Unavailable, match="try again"):
            await reader.run(1, lambda hold: where(hold, 4 * MIB))
        with pytest.raises(Unavailable, match="try again"):
            await reader.run(MIB, where)


async def test_images_that_there_will_never_be_room_for_are_too_large() -> None:
    reader = InputReader(MemoryBudget(3 * MIB))
    with pytest.raises(PayloadTooLarge):
        await reader.run(1, lambda hold: where(hold, 2 * MIB, 2 * MIB))


async def test_a_large_input_is_read_when_it_has_the_budget_for_itself() -> None:
    budget = MemoryBudget(3 * MIB)
    assert await InputReader(budget).run(MIB, lambda _hold: budget.held_bytes) == 3 * MIB


@pytest.mark.parametrize("payload_bytes", [1, INLINE_BYTES + 1])
async def test_what_reading_raises_is_raised(payload_bytes: int) -> None:
    budget = MemoryBudget(200 * MIB)

    def refuse(_hold: Hold) -> None:
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        await InputReader(budget).run(payload_bytes, refuse)
    assert budget.held_bytes == 0
