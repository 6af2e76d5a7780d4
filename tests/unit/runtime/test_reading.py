"""Where inputs are read, and what is held meanwhile."""

import asyncio
import gc
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from runtime.apart import NICENESS, Apart
from runtime.budget import READ_FACTOR, MemoryBudget
from runtime.reading import INLINE_BYTES, INLINE_IMAGE_BYTES, InputReader
from schemas.errors import InvalidInput, PayloadTooLarge, Unavailable
from schemas.images import Hold
from schemas.inputs import bytes_to_parse, check_input
from schemas.jobs import Payload
from schemas.signature import Signature, TensorSpec
from tests.unit.gateway.house import DIGITS
from tests.unit.runtime.reads import HOME, chatter, die, hang, refuse, where, who
from tests.waiting import eventually

MIB = 1024 * 1024


def no_room(_payload_bytes: int) -> None:
    raise Unavailable("no room")


def no_limit(_payload_bytes: int) -> None: ...


class Watched(MemoryBudget):
    """Remembers the most that was held."""

    most_bytes = 0

    def take(self, payload_bytes: int, use: str) -> bool:
        taken = super().take(payload_bytes, use)
        self.most_bytes = max(self.most_bytes, self.held_bytes)
        return taken


@pytest.mark.parametrize(
    ("payload_bytes", "image_bytes", "place"),
    [
        (INLINE_BYTES, 0, "here"),
        (INLINE_BYTES, INLINE_IMAGE_BYTES, "here"),
        (INLINE_BYTES, INLINE_IMAGE_BYTES + 1, "apart"),
        (INLINE_BYTES, (INLINE_IMAGE_BYTES // 2, INLINE_IMAGE_BYTES // 2, 1), "apart"),
        (INLINE_BYTES + 1, 0, "apart"),
        (INLINE_BYTES + 1, INLINE_IMAGE_BYTES + 1, "apart"),
    ],
)
async def test_what_takes_long_is_read_beside_the_loop(payload_bytes: int, image_bytes: Any, place: str) -> None:
    budget = MemoryBudget(200 * MIB)
    reader = InputReader(budget)
    images = image_bytes if isinstance(image_bytes, tuple) else (image_bytes,)
    assert await reader.run(payload_bytes, partial(where, *images)) == place
    assert budget.held_bytes == 0


async def test_images_and_other_inputs_do_not_wait_for_each_other() -> None:
    reader = InputReader(MemoryBudget(200 * MIB))
    (values, *_), (image, *_) = [await reader.run(INLINE_BYTES + 1, who, is_image=each) for each in (False, True)]
    assert HOME != values != image != HOME


def test_whoever_reads_large_inputs_lets_others_go_first_and_uses_up_no_share_of_theirs() -> None:
    apart = Apart()
    pid, nice, session = apart.call(who, no_limit)
    assert nice >= NICENESS
    assert session == pid  # its own


async def test_what_an_input_takes_is_held_while_it_is_read() -> None:
    budget = Watched(200 * MIB)
    reader = InputReader(budget)
    await reader.run(1, partial(where, 2 * MIB))
    assert budget.most_bytes == 2 * MIB
    await reader.run(MIB, where)
    assert budget.most_bytes == READ_FACTOR * MIB
    assert budget.held_bytes == 0


async def test_without_room_in_the_budget_the_caller_is_told_to_try_again() -> None:
    budget = MemoryBudget(200 * MIB)
    reader = InputReader(budget)
    with budget.hold("others") as others:
        others.grow(198 * MIB)
        with pytest.raises(Unavailable, match="try again"):
            await reader.run(1, partial(where, 4 * MIB))
        with pytest.raises(Unavailable, match="try again"):
            await reader.run(MIB, where)


async def test_images_that_there_will_never_be_room_for_are_too_large() -> None:
    reader = InputReader(MemoryBudget(3 * MIB))
    with pytest.raises(PayloadTooLarge):
        await reader.run(1, partial(where, 2 * MIB, 2 * MIB))


async def test_a_large_input_is_read_when_it_has_the_budget_for_itself() -> None:
    budget = Watched(3 * MIB)
    await InputReader(budget).run(MIB, where)
    assert budget.most_bytes == 3 * MIB


@pytest.mark.parametrize("payload_bytes", [1, INLINE_BYTES + 1])
async def test_what_reading_raises_is_raised(payload_bytes: int) -> None:
    budget = MemoryBudget(200 * MIB)
    with pytest.raises(InvalidInput) as refused:
        await InputReader(budget).run(payload_bytes, refuse)
    assert refused.value.body() == InvalidInput("no", param="input").body()
    assert budget.held_bytes == 0


async def test_images_among_large_values_take_what_was_set_apart_for_these_first() -> None:
    budget = Watched(READ_FACTOR * MIB)
    assert await InputReader(budget).run(MIB, partial(where, 20 * MIB, 20 * MIB)) == "apart"
    assert budget.most_bytes == READ_FACTOR * MIB
    assert budget.held_bytes == 0


async def test_an_input_that_there_was_no_room_for_leaves_the_reader_fit_for_the_next() -> None:
    apart = Apart()
    read = partial(where, 1)
    for _ in range(2):
        with pytest.raises(Unavailable, match="no room"):
            apart.call(read, no_room)
        assert apart.call(read, no_limit) == "apart"


async def test_what_cannot_be_sent_to_the_reader_leaves_it_fit_for_the_next() -> None:
    apart = Apart()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        apart.call(lambda _: None, no_limit)
    assert apart.call(who, no_limit)


async def test_an_input_that_kills_its_reader_costs_nobody_else_anything() -> None:
    reader = InputReader(MemoryBudget(200 * MIB))
    with pytest.raises(Unavailable):
        await reader.run(INLINE_BYTES + 1, die)
    assert await reader.run(INLINE_BYTES + 1, where) == "apart"


async def test_a_reader_that_died_between_two_inputs_costs_the_next_nothing() -> None:
    reader = InputReader(MemoryBudget(200 * MIB))
    assert await reader.run(INLINE_BYTES + 1, where) == "apart"
    process = reader._inputs.apart._process
    assert process is not None
    process.kill()
    process.wait()
    assert await reader.run(INLINE_BYTES + 1, where) == "apart"


async def test_who_waits_for_a_reader_that_hangs_is_told_in_time_and_the_next_is_read() -> None:
    budget = MemoryBudget(200 * MIB)
    reader = InputReader(budget, patience_s=0.2)
    apart = reader._inputs.apart = Apart(longest_s=1)
    with pytest.raises(Unavailable, match="try again"):
        await reader.run(INLINE_BYTES + 1, hang)
    await eventually(lambda: budget.held_bytes == 0)  # it was ended
    reader._patience_s, apart._longest_s = None, 60
    assert await reader.run(INLINE_BYTES + 1, where) == "apart"


async def test_what_is_printed_while_reading_is_no_answer() -> None:
    assert await InputReader(MemoryBudget(200 * MIB)).run(INLINE_BYTES + 1, chatter) == "answer"


async def test_the_reader_ends_when_its_owner_does() -> None:
    apart = Apart()
    assert apart.call(where, no_limit) == "apart"
    process = apart._process
    assert process is not None
    assert process.poll() is None
    del apart
    gc.collect()
    assert process.returncode is not None


@pytest.mark.parametrize(("datatype", "rows", "thread"), [("FP32", MIB, "loop"), ("BYTES", MIB // 16, "apart")])
async def test_raw_numbers_need_no_other_process(
    datatype: Any, rows: int, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = ["loop"]

    def call(_self: Apart, work: Callable[[Hold], Any], hold: Hold) -> Any:
        threads.append("apart")
        return work(hold)

    monkeypatch.setattr(Apart, "call", call)
    head = b'{"inputs":[{"name":"x","datatype":"%b","shape":[%d],"parameters":{"binary_data_size":%d}}]}'
    head %= (datatype.encode(), rows, 4 * rows)
    signature = Signature((TensorSpec("x", datatype, (-1,)),), (TensorSpec("y", "FP32", (-1,)),))
    payload = Payload(head + bytes(4 * rows), "application/octet-stream", len(head))
    reader = InputReader(MemoryBudget(1000 * MIB))
    checked = await reader.run(bytes_to_parse(signature, payload), partial(check_input, signature, payload))
    assert checked.rows == rows
    assert threads[-1] == thread


async def test_a_large_request_of_json_is_read_apart_and_comes_back_with_raw_tensors() -> None:
    signature = Signature((TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP32", (-1,)),))
    head = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[20000],"data":['
    payload = Payload(head + b"0.125," * 19_999 + b"0.125]}]}")
    reader = InputReader(MemoryBudget(200 * MIB))
    assert bytes_to_parse(signature, payload) > INLINE_BYTES
    checked = await reader.run(bytes_to_parse(signature, payload), partial(check_input, signature, payload))
    assert checked.rows == 20_000
    assert checked.payload.value[checked.payload.json_length :] == b"\0\0\0\x3e" * 20_000


@pytest.mark.parametrize("number", ["1e308", "3E+300", "2e-320", "7e0290"])
@pytest.mark.parametrize("form", ['{"inputs":[%s]}', '{"instances":[%s]}', '{"inputs":[],"parameters":{"a":[%s]}}'])
def test_what_holds_many_extreme_numbers_is_read_apart_however_small(number: str, form: str) -> None:
    signature = Signature((TensorSpec("x", "FP64", (-1,)),), (TensorSpec("y", "FP32", (-1,)),))
    few, many = (Payload((form % ",".join([number] * count)).encode()) for count in (100, 300))
    assert bytes_to_parse(signature, few) == len(few.value)
    assert bytes_to_parse(signature, many) > INLINE_BYTES
    json_first = Payload(many.value + bytes(8), "application/octet-stream", len(many.value))
    assert bytes_to_parse(signature, json_first) > INLINE_BYTES


async def test_other_tasks_run_while_a_large_input_is_read() -> None:
    rows = b'{"instances":[' + b"[]," * 300_000 + b"[]]}"
    reader = InputReader(MemoryBudget(200 * MIB))
    await reader.run(INLINE_BYTES + 1, where)  # it is started
    reading = asyncio.create_task(reader.run(len(rows), partial(check_input, DIGITS, Payload(rows))))
    turns = 0
    while not reading.done():
        await asyncio.wait([reading], timeout=0.001)
        turns += 1
    with pytest.raises(InvalidInput):
        await reading
    assert turns > 10
