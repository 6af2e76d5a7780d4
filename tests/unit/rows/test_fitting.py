"""Columns as inputs: what fits goes together, what does not fails alone, by its name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from producers.rows.fitting import Fitted, fit
from producers.rows.sources import UNNAMED, Chunk, CsvText, rows_of
from schemas.errors import InvalidInput
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array

OUT = (TensorSpec("y", "FP32", (-1,)),)
CELLS = {"city": ["007", "Bonn", "Ulm"], "area": ["30", "40.0", "many"]}
VECTOR = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=OUT)
NAMED = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=OUT, features=("age", "height"))
MIXED = Signature(inputs=(TensorSpec("city", "BYTES", (-1,)), TensorSpec("area", "INT64", (-1,))), outputs=OUT)


def inputs_of(fitted: Fitted) -> Mapping[str, Array]:
    """Of rows that all have one shape."""
    (group,) = fitted.groups
    return group.inputs


def chunk_of(rows: list[Any]) -> Chunk:
    return Chunk(0, next(rows_of(rows)(len(rows))))


def test_a_column_without_a_name_is_the_only_input() -> None:
    fitted = fit(VECTOR, chunk_of([[1, 2], [3, 4]]))
    assert inputs_of(fitted)["x"].dtype == np.float32
    assert inputs_of(fitted)["x"].tolist() == [[1, 2], [3, 4]]
    assert fitted.errors == {}


def test_features_are_columns_in_the_order_of_the_model() -> None:
    fitted = fit(NAMED, chunk_of([{"height": 2, "age": 1}, {"height": 4, "age": 3}]))
    assert inputs_of(fitted)["x"].tolist() == [[1, 2], [3, 4]]


def test_a_feature_that_is_no_number_fails_its_row_alone() -> None:
    fitted = fit(NAMED, chunk_of([{"age": 1, "height": 2}, {"age": "?", "height": 4}, {"age": 5, "height": None}]))
    assert sorted(fitted.errors) == [1, 2]
    assert inputs_of(fitted)["x"].tolist() == [[1, 2]]


def test_several_inputs_are_columns_of_their_names() -> None:
    fitted = fit(MIXED, chunk_of([{"city": "Ulm", "area": 30}, {"city": b"Bonn", "area": 40.0}]))
    assert inputs_of(fitted)["city"].tolist() == [b"Ulm", b"Bonn"]
    assert inputs_of(fitted)["area"].tolist() == [30, 40]


@pytest.mark.parametrize("bad", [1.5, float("nan"), 2.0**70, "many", None])
def test_what_does_not_fit_its_type_fails_its_row_alone(bad: object) -> None:
    fitted = fit(MIXED, chunk_of([{"city": "Ulm", "area": 30}, {"city": "Bonn", "area": bad}, {"city": 7, "area": 1}]))
    assert sorted(fitted.errors) == [1, 2]
    assert inputs_of(fitted)["area"].tolist() == [30]


def test_rows_of_shapes_that_the_model_does_not_take_fail_alone() -> None:
    fitted = fit(VECTOR, chunk_of([[1, 2], [3], [4, 5]]))
    assert sorted(fitted.errors) == [1]
    assert inputs_of(fitted)["x"].tolist() == [[1, 2], [4, 5]]


def test_rows_of_each_length_go_together() -> None:
    signature = Signature(inputs=(TensorSpec("ids", "INT64", (-1, -1)),), outputs=OUT)
    fitted = fit(signature, chunk_of([[1, 2], [3, 4, 5], [6, 7]]))
    assert [(list(group.rows), group.inputs["ids"].tolist()) for group in fitted.groups] == [
        ([0, 2], [[1, 2], [6, 7]]),
        ([1], [[3, 4, 5]]),
    ]
    assert fitted.errors == {}


def test_cells_of_csv_are_what_the_model_takes_them_for() -> None:
    columns = {name: np.array([CsvText(text) for text in texts], dtype=object) for name, texts in CELLS.items()}
    fitted = fit(MIXED, Chunk(0, columns))
    assert sorted(fitted.errors) == [2]
    assert inputs_of(fitted)["city"].tolist() == [b"007", b"Bonn"]
    assert inputs_of(fitted)["area"].tolist() == [30, 40]


def test_where_no_row_fits_nothing_is_sent() -> None:
    fitted = fit(VECTOR, chunk_of([["a", "b"], ["c", "d"]]))
    assert (sorted(fitted.errors), fitted.groups) == ([0, 1], [])


@pytest.mark.parametrize("signature", [NAMED, MIXED])
def test_a_column_that_is_missing_is_named_before_anything_is_sent(signature: Signature) -> None:
    with pytest.raises(InvalidInput, match="there is no column"):
        fit(signature, chunk_of([{"color": 1}]))
    with pytest.raises(InvalidInput, match="there is no column"):
        fit(MIXED, Chunk(0, {UNNAMED: np.zeros(2)}))
