"""What waits to be written or compared is bounded, in number and in bytes."""

import asyncio

import pytest

from workers.inference.shadows.waiting_outputs import Waiting


@pytest.mark.parametrize(("sizes", "size", "has_room"), [([5], 5, True), ([5], 6, False), ([1, 1], 1, False)])
async def test_there_is_room_for_so_many_of_so_many_bytes_and_again_for_what_is_taken(
    sizes: list[int], size: int, has_room: bool
) -> None:
    waiting: Waiting[int] = Waiting(2, 10)
    for each in sizes:
        waiting.add(each, each)
    assert waiting.has_room(size) == has_room
    assert await waiting.next() == sizes[0]
    assert waiting.has_room(size)


async def test_who_takes_waits_for_the_first_and_gets_all_in_their_order() -> None:
    waiting: Waiting[str] = Waiting(2, 10)
    taking = asyncio.create_task(waiting.all())
    await asyncio.sleep(0)
    waiting.add("first", 5)
    waiting.add("second", 5)
    assert await taking == ["first", "second"]
    assert waiting.has_room(10)
