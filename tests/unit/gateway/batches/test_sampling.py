"""How many rows a line has, told by the first of them."""

import pytest

from gateway.batches.sampling import rows_a_line


def line(body: str) -> bytes:
    return b'{"custom_id": "a", "body": %s}\n' % body.encode()


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ('{"instances": [[1], [2]]}', 2),
        ('{"inputs": [{"name": "x", "shape": [5, 2], "datatype": "FP32", "data": []}]}', 5),
        ('{"model": "m", "input": {"instances": [1, 2, 3]}}', 3),
        ('{"instances": []}', 1),
        ('{"inputs": []}', 1),
        ('{"inputs": [{"shape": []}]}', 1),
        ('{"inputs": [{"shape": [-5]}]}', 1),
        ('{"other": 1}', 1),
    ],
)
def test_rows_are_counted_in_each_form(body: str, rows: int) -> None:
    assert rows_a_line(line(body)) == rows


def test_the_mean_of_whole_lines_counts() -> None:
    one, three = line('{"instances": [1]}'), line('{"instances": [1, 2, 3]}')
    assert rows_a_line(one + three + three[:-9]) == 2
    assert rows_a_line(b"\xef\xbb\xbf" + three + b"\n") == 3
    assert rows_a_line(three[:-1]) == 3


@pytest.mark.parametrize(
    "text", [b"", b"\n\n", b"{", b'{"body": 1}\n', b'{"body": {"instances": 1}}\n', b"[" * 100_000]
)
def test_what_is_no_request_counts_for_none(text: bytes) -> None:
    assert rows_a_line(text) == 1
    assert rows_a_line(line('{"instances": [1, 2, 3]}') + text + b"\n") == 3


def test_a_line_has_no_more_rows_than_bytes() -> None:
    text = line('{"inputs": [{"shape": [1000000000000000000000]}]}')
    assert rows_a_line(text) == len(text) - 1
