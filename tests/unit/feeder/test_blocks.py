"""Lines as blocks: each line in one block, rows that are alike together."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidInput, PenstockError
from schemas.jobs import Payload
from schemas.oip import parse_request
from schemas.signature import Signature, TensorSpec
from tests.examples import examples
from workers.feeder.blocks import MadeBlock, Row, form_of, make_blocks, read_row
from workers.feeder.requests import LineRequest

SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, -1)), TensorSpec("name", "BYTES", (-1,))),
    outputs=(TensorSpec("y", "FP32", (-1,)),),
)


def row(number: int, rows: int = 1, width: int = 2, text: str = "a", **parameters: Any) -> Row:
    body = {
        "inputs": [
            {"name": "x", "shape": [rows, width], "datatype": "FP32", "data": [float(number)] * rows * width},
            {"name": "name", "shape": [rows], "datatype": "BYTES", "data": [text] * rows},
        ],
        "parameters": parameters,
    }
    told = LineRequest(f"line-{number}", Payload(json.dumps(body).encode()))
    found = read_row(SIGNATURE, told, number, 100 * number, 100, 1_000_000)
    assert isinstance(found, Row), found
    return found


lines = st.lists(
    st.fixed_dictionaries(
        {
            "rows": st.integers(1, 12),
            "width": st.integers(1, 3),
            "text": st.text(max_size=30),
            "p": st.sampled_from([1, "b"]),
        }
    ),
    max_size=30,
)


def values(block: MadeBlock) -> dict[str, Any]:
    return dict(parse_request(SIGNATURE, block.payload).inputs)


@examples(100)
@given(lines, st.integers(1, 20), st.integers(50, 2000), st.integers(1, 30))
def test_each_line_is_in_one_block_with_its_own_values(
    given_lines: list[dict[str, Any]], most_rows: int, most_bytes: int, run_rows: int
) -> None:
    rows = [row(number, **each) for number, each in enumerate(given_lines, 1)]
    by_number = {each.line.number: each for each in rows}
    blocks = make_blocks(rows, most_rows, most_bytes, run_rows)
    assert sorted(line.number for block in blocks for line in block.lines) == sorted(by_number)
    for block in blocks:
        members = [by_number[line.number] for line in block.lines]
        assert len({form_of(each.request) for each in members}) == 1
        assert len(members) == 1 or block.rows <= most_rows
        assert len(members) == 1 or sum(each.size for each in members) <= most_bytes
        start, inputs = 0, values(block)
        for each in members:
            own = slice(start, start + each.line.rows)
            for name, array in each.request.inputs.items():
                assert np.array_equal(inputs[name][own], array)
            start = own.stop


@examples(50)
@given(lines)
def test_a_block_made_again_of_its_lines_is_the_same(given_lines: list[dict[str, Any]]) -> None:
    rows = [row(number, **each) for number, each in enumerate(given_lines, 1)]
    by_number = {each.line.number: each for each in rows}
    for block in make_blocks(rows, most_rows=15, most_bytes=500):
        members = [by_number[line.number] for line in block.lines]
        assert make_blocks(members, most_rows=block.rows, most_bytes=10**6) == [block]


@pytest.mark.parametrize(
    ("count", "run_rows", "sizes"),
    [(25, 1, [10, 10, 5]), (25, 4, [8, 8, 9]), (25, 7, [7, 7, 7, 4]), (25, 11, [10, 10, 5]), (8, 4, [8])],
)
def test_a_full_block_has_whole_micro_batches(count: int, run_rows: int, sizes: list[int]) -> None:
    blocks = make_blocks([row(number) for number in range(count)], most_rows=10, run_rows=run_rows)
    assert [block.rows for block in blocks] == sizes


def test_lines_of_many_rows_stay_whole() -> None:
    blocks = make_blocks([row(number, rows=3) for number in range(6)], most_rows=10, run_rows=6)
    assert [block.rows for block in blocks] == [6, 6, 6]


def test_rows_of_about_one_length_are_together() -> None:
    texts = ["a" * (1 if number % 2 else 900) for number in range(20)]
    blocks = make_blocks([row(number, text=text) for number, text in enumerate(texts)], most_rows=10)
    assert [{len(text) for text in values(block)["name"]} for block in blocks] == [{1}, {900}]


def test_what_does_not_fit_is_said_as_a_job_of_its_own_would_be_told() -> None:
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    told = LineRequest("line-1", Payload(json.dumps(body).encode()))
    found = read_row(SIGNATURE, told, 1, 0, 100, 1_000_000)
    assert isinstance(found, PenstockError)
    assert isinstance(found, InvalidInput)
    assert "name" in found.message
