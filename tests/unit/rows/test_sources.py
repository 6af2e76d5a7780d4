"""Rows from files of each kind: the same rows, in chunks of the same size, whatever the file's own pieces are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from producers.rows.sources import UNNAMED, chunks, rows_of, source_of
from schemas.errors import InvalidInput

ROWS = 2500
A = np.arange(ROWS, dtype=np.float64)
NAMES = [f"name-{number}" for number in range(ROWS)]


def table() -> Any:
    return pyarrow.table({"a": A, "name": NAMES})


def write_stream(path: Path) -> None:
    with pyarrow.ipc.new_stream(path, table().schema) as writer:
        writer.write_table(table(), max_chunksize=700)


WRITERS: dict[str, Callable[[Path], object]] = {
    ".csv": lambda path: pyarrow.csv.write_csv(table(), path),
    ".parquet": lambda path: pyarrow.parquet.write_table(table(), path, row_group_size=999),
    ".arrow": write_stream,
    ".feather": lambda path: pyarrow.feather.write_feather(table(), path, chunksize=333),
    ".jsonl": lambda path: path.write_text(
        "\n".join(json.dumps({"a": a, "name": name}) for a, name in zip(A.tolist(), NAMES, strict=True))
    ),
    ".npz": lambda path: np.savez(path, a=A, name=np.array(NAMES)),
}


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("size", [1000, 2500, 7000])
def test_a_file_gives_its_rows_in_chunks_of_one_size(tmp_path: Path, ending: str, size: int) -> None:
    path = tmp_path / f"rows{ending}"
    WRITERS[ending](path)
    found = list(chunks(source_of(path), size))
    assert [chunk.rows for chunk in found] == [min(size, ROWS - start) for start in range(0, ROWS, size)]
    assert [chunk.start for chunk in found] == list(range(0, ROWS, size))
    assert [float(value) for chunk in found for value in chunk.columns["a"]] == A.tolist()
    assert [name for chunk in found for name in chunk.columns["name"].tolist()] == NAMES


def test_an_array_alone_has_one_column_without_a_name(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.arange(24, dtype=np.float32).reshape(6, 2, 2))
    first, second = chunks(source_of(tmp_path / "rows.npy"), 4)
    assert first.columns[UNNAMED].shape == (4, 2, 2)
    assert second.columns[UNNAMED].shape == (2, 2, 2)


def test_lists_in_columns_are_rows_of_several_values(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"x": [[1.0, 2.0], [3.0, 4.0]]}), tmp_path / "rows.parquet")
    (chunk,) = chunks(source_of(tmp_path / "rows.parquet"), 10)
    assert chunk.columns["x"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_any_iterable_gives_rows() -> None:
    (chunk,) = chunks(rows_of([{"a": 1, "b": "x"}, {"a": 2}]), 10)
    assert chunk.columns["a"].tolist() == [1, 2]
    assert chunk.columns["b"].tolist() == ["x", None]
    (chunk,) = chunks(rows_of([[1.0, 2.0], [3.0, 4.0]]), 10)
    assert chunk.columns[UNNAMED].shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("rows.txt", "", "rows are read from"),
        ("rows.csv", "", "cannot be read"),
        ("rows.csv", "a,b\n1,2\n1,2,3\n", "cannot be read"),
        ("rows.parquet", "PAR1", "cannot be read"),
        ("rows.arrow", "ARROW1", "cannot be read"),
        ("rows.npy", "", "cannot be read"),
        ("rows.npy", "\x93NUMPY", "cannot be read"),
        ("rows.npz", "PK", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, text: str, why: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput, match=why):
        list(chunks(source_of(tmp_path / name), 10))


def test_columns_of_other_lengths_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", a=np.zeros(3), b=np.zeros(2))
    with pytest.raises(InvalidInput, match="differ in length"):
        list(chunks(source_of(tmp_path / "rows.npz"), 10))


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n\n")
    assert list(chunks(source_of(tmp_path / "rows.jsonl"), 10)) == []


def test_a_line_that_is_no_json_is_a_row_without_values(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\n{\n\n{"a": 3}\n')
    (chunk,) = chunks(source_of(tmp_path / "rows.jsonl"), 10)
    assert chunk.columns["a"].tolist() == [1, None, 3]


def test_what_a_cell_far_down_holds_does_not_depend_on_the_first_ones(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n" + "1\n" * 600_000 + "1.5\nabc\n")
    *_, last = chunks(source_of(tmp_path / "rows.csv"), 100_000)
    assert last.columns["a"].tolist() == ["1.5", "abc"]


def test_a_file_that_was_pickled_is_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput, match="cannot be read"):
        list(chunks(source_of(tmp_path / "rows.npy"), 10))
