"""A prediction as class and confidence, where it has them. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """What a row was found to be. `class_` is None where the model names no classes and gives no scores, `confidence`
    where it gives no probabilities."""

    prediction: Any
    class_: str | int | None = msgspec.field(default=None, name="class")
    confidence: float | None = None


def verdict_of(prediction: Any) -> Verdict:
    """`prediction` is a row's, as `{"predictions": [...]}` has it: a value, or an object of outputs."""
    values = list(prediction.values()) if isinstance(prediction, dict) and not _is_scores(prediction) else [prediction]
    ranked = next((found for value in values if (found := ranking(value))), None)
    named = next((value for value in values if isinstance(value, str)), None)
    if ranked is None:
        return Verdict(prediction, named)
    best, score = ranked[0]
    return Verdict(prediction, best if named is None else named, score if are_probabilities(ranked) else None)


def ranking(value: Any) -> list[tuple[str | int, float]]:
    """Classes and their scores, the highest first: of `{class: score}`, or of a list of scores by their places. Empty
    for what are no scores."""
    if _is_scores(value):
        scores = list(value.items())
    elif isinstance(value, list) and len(value) > 1 and all(_is_number(each) for each in value):
        scores = list(enumerate(value))
    else:
        return []
    return sorted(scores, key=lambda each: each[1], reverse=True)


def are_probabilities(scores: list[tuple[str | int, float]]) -> bool:
    """Whether they lie between 0 and 1; those of several labels at once need not add up."""
    return all(0 <= score <= 1 for _, score in scores)


def _is_scores(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0 and all(_is_number(score) for score in value.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
