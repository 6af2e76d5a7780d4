"""Looking through an input, whatever is in it."""

import json
import tracemalloc
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.batches import MAX_LINE_BYTES, MOST_LINE_ERRORS, Endpoint, endpoint_of
from stores.memory_blobs import MemoryBlobs
from tests.examples import examples
from tests.unit.feeder.house import ENDPOINT, NOON, line
from workers.feeder import validation
from workers.feeder.lines import RawLine, read_lines
from workers.feeder.validation import Validated, Validation, twins


async def validated(text: bytes, endpoint: str = ENDPOINT) -> Validated:
    blobs = MemoryBlobs(lambda: NOON)
    await blobs.put("input", text)
    found = endpoint_of(endpoint)
    assert found is not None
    return await Validation(endpoint, found, 1_000_000).run(blobs, "input")


def joined(lines: Sequence[str], end: str = "\n") -> bytes:
    return end.join(lines).encode()


@pytest.mark.parametrize(
    "text",
    [
        joined([line(0), line(1)]),
        joined([line(0), line(1), ""]),
        joined([line(0), line(1), "", ""]),
        joined([line(0), line(1), ""], "\r\n"),
        b"\xef\xbb\xbf" + joined([line(0), line(1)]),
    ],
)
async def test_ends_of_lines_and_marks_are_taken_as_they_come(text: bytes) -> None:
    assert await validated(text) == Validated(2, [], 0)


async def test_every_error_is_counted_and_the_first_thousand_are_listed() -> None:
    found = await validated(joined([line(0), *["{"] * 2500, *[line(1)] * 5]))
    assert (len(found.errors), found.line_errors) == (MOST_LINE_ERRORS, 2504)
    assert [each.line for each in found.errors] == list(range(2, 2 + MOST_LINE_ERRORS))


async def test_ids_that_come_again_are_told_with_the_line_that_had_them_first() -> None:
    ids = [*range(3000), *range(2000), 7]
    found = await validated(joined([line(number) for number in ids]))
    assert found.line_errors == 2001
    assert [each.line for each in found.errors] == list(range(3001, 3001 + MOST_LINE_ERRORS))
    assert "is that of line 1" in found.errors[0].message
    few = await validated(joined([line(number) for number in [1, 2, 1, 3, 2, 1]]))
    assert [(each.line, each.message[-8:]) for each in few.errors] == [
        (3, "f line 1"),
        (5, "f line 2"),
        (6, "f line 1"),
    ]


async def test_ids_that_only_hash_alike_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "_hash", lambda _text, _key: 1)
    assert (await validated(joined([line(0), line(1), line(2)]))).line_errors == 0
    found = await validated(joined([line(0), line(1), line(2), line(1)]))
    assert [(each.code, each.line) for each in found.errors] == [("duplicate_custom_id", 4)]


@examples(100)
@given(st.lists(st.integers(0, 20), max_size=60))
def test_twins_are_those_that_stand_further_in_front(values: list[int]) -> None:
    expected = [(values.index(value), place) for place, value in enumerate(values) if value in values[:place]]
    firsts, repeats = twins(np.array(values, dtype=np.uint64))
    assert list(zip(firsts.tolist(), repeats.tolist(), strict=True)) == expected


async def test_a_line_that_is_too_long_is_told_and_the_next_is_read() -> None:
    long = line(0, custom_id="a", method="x" * MAX_LINE_BYTES)
    found = await validated(joined([line(1), long, line(2)]))
    assert [(each.code, each.line) for each in found.errors] == [("line_too_long", 2)]
    assert found.total == 3


async def test_names_of_megabytes_are_not_told_in_full() -> None:
    told = json.loads(line(0)) | {"x" * 2_000_000: 1}
    found = await validated(joined([json.dumps(told)] * 20))
    assert len(found.errors) == 20
    assert max(len(each.message) for each in found.errors) < 500


async def test_lines_of_envelopes_name_one_version_together() -> None:
    def asks(number: int, **body: object) -> str:
        return line(number, url="/v1/jobs", body={"input": {"instances": [[1]]}} | body)

    good = await validated(joined([asks(n, model="adder", version="1") for n in range(3)]), "/v1/jobs")
    assert (good.model, good.version, good.errors) == ("adder", "1", [])
    bad = await validated(
        joined(
            [
                asks(0, model="adder"),
                asks(1, model="other"),
                asks(2, model="adder", version="1"),
                asks(3, model="adder", priority=1),
                asks(4),
                asks(5, model=1),
                line(6, url="/v1/jobs", body={"model": "adder"}),
                line(7, url="/v1/jobs", body=[]),
            ]
        ),
        "/v1/jobs",
    )
    assert [(each.line, each.param) for each in bad.errors] == [
        (2, "body.model"),
        (3, "body.model"),
        (4, "body.priority"),
        (5, "body.model"),
        (6, "body.model"),
        (7, "body.input"),
        (8, "body"),
    ]


async def test_memory_does_not_grow_with_the_input() -> None:
    class Endless:
        """Made as it is read."""

        async def read(self, _key: str, _start: int = 0, _length: int | None = None) -> AsyncIterator[bytes]:
            for start in range(0, 40_000, 1000):
                yield joined([line(number, *[1.0] * 20) for number in range(start, start + 1000)]) + b"\n"

    tracemalloc.start()
    try:
        blobs: object = Endless()
        found = await Validation(ENDPOINT, Endpoint("adder"), 1_000_000).run(blobs, "input")  # type: ignore[arg-type]
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.total, found.line_errors) == (40_000, 0)
    assert most_bytes < 12_000_000, "of an input of 16 MB"


@examples(100)
@given(st.lists(st.text("ab\r ", max_size=8)), st.integers(1, 9), st.booleans())
async def test_lines_are_the_same_however_they_are_cut_into_pieces(texts: list[str], size: int, ends: bool) -> None:
    whole = b"".join(each.encode() + b"\n" for each in texts)
    whole = whole if ends else whole.removesuffix(b"\n")

    class Pieces:
        async def read(self, _key: str, start: int = 0, _length: int | None = None) -> AsyncIterator[bytes]:
            for place in range(start, len(whole), size):
                yield whole[place : place + size]

    blobs: object = Pieces()
    found: list[RawLine] = [each async for each in read_lines(blobs, "key")]  # type: ignore[arg-type]
    expected = whole.split(b"\n")[: None if whole and not whole.endswith(b"\n") else -1]
    assert [each.text for each in found] == expected
    assert [each.number for each in found] == list(range(1, len(found) + 1))
    for each in found:  # and from each line on the rest is the same
        rest = [again async for again in read_lines(blobs, "key", each.offset, each.number)]  # type: ignore[arg-type]
        assert rest == found[each.number - 1 :]
