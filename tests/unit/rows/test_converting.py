"""A run's lines as Parquet and NPY."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from producers.rows import converting
from producers.rows.answers import RowAnswer, lines_of
from producers.rows.bulk_run import converted, lines_of_run
from producers.rows.journal import beside
from schemas.errors import Conflict, InvalidInput
from schemas.signature import Signature, TensorSpec

ERROR = InvalidInput("x is no number", param="x").body()
TWO = (
    TensorSpec("label", "INT64", (-1,), labels=("cat", "dog")),
    TensorSpec("scores", "FP32", (-1, 2), labels=("cat", "dog")),
    TensorSpec("tokens", "BYTES", (-1, -1)),
)


def signature(*outputs: TensorSpec) -> Signature:
    return Signature(inputs=(TensorSpec("x", "FP32", (-1,)),), outputs=outputs)


def written(folder: Path, name: str, answers: list[RowAnswer], ids: list[str] | None = None) -> Path:
    output = folder / name
    lines_of_run(output).write_bytes(lines_of(0, answers, ids or ()))
    beside(lines_of_run(output)).write_bytes(b"{}")
    return output


def test_each_row_has_its_number_its_status_its_error_and_a_column_an_output(tmp_path: Path) -> None:
    answer = {"label": "dog", "scores": {"cat": 0.25, "dog": 0.75}, "tokens": ["a", {"b64": "/w=="}]}
    output = written(tmp_path, "out.parquet", [RowAnswer(answer), RowAnswer(error=ERROR)], ["a.png", "b.png"])
    converted(output, signature(*TWO), 2)
    first, second = parquet.read_table(output).to_pylist()
    assert first == {
        "row": 0,
        "id": "a.png",
        "status": "succeeded",
        "error_code": None,
        "error_message": None,
        "error_param": None,
        "label": "dog",
        "scores": {"cat": 0.25, "dog": 0.75},
        "tokens": ["a", '{"b64":"/w=="}'],
    }
    assert (second["status"], second["error_code"], second["error_param"]) == ("failed", "invalid_input", "x")
    assert (second["label"], second["scores"]) == (None, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet"]


@pytest.mark.parametrize(
    ("spec", "value", "row", "missing"),
    [
        (TensorSpec("y", "FP32", (-1,)), 1.5, 1.5, np.nan),
        (TensorSpec("y", "FP32", (-1, 2)), [1.5, 2.5], [1.5, 2.5], [np.nan] * 2),
        (TensorSpec("y", "INT64", (-1,)), 7, 7, 0),
        (TensorSpec("y", "INT64", (-1,), labels=("cat", "dog")), "dog", 1, 0),
        (TensorSpec("y", "FP32", (-1, 2), labels=("cat", "dog")), {"cat": 0.5, "dog": 0.25}, [0.5, 0.25], [np.nan] * 2),
    ],
)
def test_an_output_is_an_array_whose_failed_rows_are_told_beside_it(
    tmp_path: Path, spec: TensorSpec, value: Any, row: Any, missing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converting, "GROUP_ROWS", 2)
    answers = [RowAnswer(value), RowAnswer(error=ERROR), RowAnswer(value)]
    output = written(tmp_path, "out.npy", answers)
    converted(output, signature(spec), 3)
    assert np.array_equal(np.load(output), np.array([row, missing, row]), equal_nan=spec.datatype == "FP32")
    (error,) = map(json.loads, (tmp_path / "out.npy.errors.jsonl").read_text().splitlines())
    assert (error["row"], error["error"]["code"]) == (1, "invalid_input")


def test_a_conversion_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    output = written(tmp_path, "out.npy", [RowAnswer(1.5)])
    (tmp_path / "out.npy.converting").write_bytes(b"half of it")
    converted(output, signature(TensorSpec("y", "FP32", (-1,))), 1)
    assert np.load(output).tolist() == [1.5]


@pytest.mark.parametrize("outputs", [TWO, (TWO[2],), (TensorSpec("y", "FP32", (-1, -1)),)])
def test_what_no_array_holds_is_refused_before_anything_is_run(outputs: tuple[TensorSpec, ...]) -> None:
    with pytest.raises(Conflict, match=r"write \.parquet or \.jsonl"):
        converting.converter_of(Path("out.npy"), signature(*outputs))


def test_no_rows_are_a_file_of_none(tmp_path: Path) -> None:
    for name in ("out.parquet", "out.npy"):
        output = written(tmp_path, name, [])
        converted(output, signature(TensorSpec("y", "FP32", (-1,))), 0)
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 0
    assert len(np.load(tmp_path / "out.npy")) == 0
