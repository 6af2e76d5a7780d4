"""Class and confidence of a prediction."""

from typing import Any

import pytest

from schemas.verdicts import Verdict, verdict_of


@pytest.mark.parametrize(
    ("prediction", "class_", "confidence"),
    [
        ("setosa", "setosa", None),
        (3.5, None, None),
        (None, None, None),
        ([0.2, 0.7, 0.1], 1, 0.7),
        ([2.0, -1.0], 0, None),
        ([1.0], None, None),
        ([True, False], None, None),
        ({"cat": 0.9, "dog": 0.1}, "cat", 0.9),
        ({"cat": 7.5, "dog": 0.1}, "cat", None),
        ({"label": "3", "probabilities": {"1": 0.1, "3": 0.9}}, "3", 0.9),
        ({"label": "3", "embedding": "x"}, "3", None),
        ({}, None, None),
        ([], None, None),
    ],
)
def test_class_and_confidence_are_told_where_there_are_some(
    prediction: Any, class_: str | int | None, confidence: float | None
) -> None:
    assert verdict_of(prediction) == Verdict(prediction, class_, confidence)
