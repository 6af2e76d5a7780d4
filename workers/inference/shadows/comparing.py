"""Whether a shadow answers as the version that it shadows, on the same rows. Pure, but for a model's own function."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from schemas.shadows import MAX_LABEL
from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.models.compare_config import ABSOLUTE, RELATIVE, CompareConfig

Outputs = Mapping[str, Array]
# A model's own: whether the two answers, the callers' first, are as good as the same.
Function = Callable[[Outputs, Outputs], Any]
_NUMBERS: Final = "biuf"
DIGITS: Final = 12  # of a text's digest


class Rule(NamedTuple):
    """How two answers are compared: by what a `function` says; by the class that the output `label` says; else number
    by number, where two floats agree that differ by at most `absolute + relative * ` the larger one's size."""

    absolute: float = ABSOLUTE
    relative: float = RELATIVE
    label: str | None = None
    labels: tuple[str, ...] = ()
    function: Function | None = None


class Difference(NamedTuple):
    """Why two answers disagree; the fields are those of `schemas.shadows.Disagreement`."""

    why: str
    output: str = ""
    rows: int = 0
    largest_difference: float | None = None
    answered: str = ""
    shadowed: str = ""


def rule_of(config: CompareConfig | None, signature: Signature, function: Function | None = None) -> Rule:
    """As model.yaml says. Where it says nothing, the first output with labels is compared by them, else all numbers."""
    if config is not None and config.tolerance is not None:
        return Rule(config.tolerance.absolute, config.tolerance.relative)
    if function is not None:
        return Rule(function=function)
    named = next((spec for spec in signature.outputs if spec.labels), None) if config is None else None
    spec = named if config is None else signature.output(config.label or "")
    return Rule() if spec is None else Rule(label=spec.name, labels=spec.labels)


def difference(rule: Rule, answered: Outputs, shadowed: Outputs) -> Difference | None:
    """Where the shadow's answer is another; None where it agrees. What only the shadow gives is not looked at.

    NaN is like NaN; a tolerance goes both ways. Raises what a function raises, and `ValueError` where the answer lacks
    the output whose classes are to be compared.
    """
    if rule.function is not None:
        return None if rule.function(answered, shadowed) else Difference("function")
    if rule.label is not None and rule.label not in answered:
        raise ValueError(f"the answer has no output {rule.label!r}, whose classes are to be compared")
    found = [_in_output(rule, name, answered, shadowed) for name in ([rule.label] if rule.label else answered)]
    return max([each for each in found if each is not None], key=lambda each: each.rows, default=None)


def _in_output(rule: Rule, name: str, answered: Outputs, shadowed: Outputs) -> Difference | None:
    if name not in answered or name not in shadowed:
        return Difference("missing", name)
    ours, theirs = answered[name], shadowed[name]
    shapes = str(list(ours.shape)), str(list(theirs.shape))
    if rule.label is not None and ours.shape == theirs.shape:
        ours, theirs = _classes(ours), _classes(theirs)
    if ours.shape != theirs.shape:
        return Difference("shape", name, 0, None, *shapes)
    if not ours.size:
        return None
    differs = _differs(rule, ours, theirs)
    if not differs.any():
        return None
    rows = differs.reshape(len(ours), -1).any(axis=1)
    row = int(np.argmax(rows))
    told = [_told(rule, array[row : row + 1], differs[row]) for array in (ours, theirs)]
    if rule.label is not None:
        return Difference("label", name, int(rows.sum()), None, *told)
    return Difference("value", name, int(rows.sum()), _largest(ours, theirs), *told)


def _classes(array: Array) -> Array:
    """The number of the class that each row says: that of the highest score, where there is a score a class. Of one
    score alone the highest says nothing."""
    if array.dtype.kind == "f" and array.ndim > 1 and array.shape[-1] > 1:
        return np.asarray(np.argmax(array, axis=-1))
    return array


def _differs(rule: Rule, ours: Array, theirs: Array) -> Array:
    kinds = {ours.dtype.kind, theirs.dtype.kind}
    if not kinds <= set(_NUMBERS):
        if "O" not in kinds and kinds & set(_NUMBERS):  # numbers are no texts
            return np.ones(ours.shape, bool)
        pairs = zip(ours.ravel(), theirs.ravel(), strict=True)
        return np.array([_bytes(one) != _bytes(other) for one, other in pairs], bool).reshape(ours.shape)
    if "f" not in kinds:
        return np.asarray(ours != theirs)
    one, other = ours.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(all="ignore"):
        near = np.abs(one - other) <= rule.absolute + rule.relative * np.maximum(np.abs(one), np.abs(other))
    # Infinity less infinity is no number, and what is infinite is within no share of itself.
    finite = np.isfinite(one) & np.isfinite(other)
    alike = (near & finite) | (one == other) | (np.isnan(one) & np.isnan(other))
    return np.asarray(~alike)


def _largest(ours: Array, theirs: Array) -> float | None:
    if not {ours.dtype.kind, theirs.dtype.kind} <= set(_NUMBERS):
        return None
    with np.errstate(all="ignore"):
        apart = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    apart = apart[np.isfinite(apart)]
    return float(apart.max()) if apart.size else None


def _told(rule: Rule, row: Array, differs: Any) -> str:
    """The first value of a row that differs; a class by its name, and of a text what tells it from another."""
    value = row.ravel()[int(np.argmax(np.ravel(differs)))]
    if rule.label is not None and isinstance(value, np.integer) and 0 <= value < len(rule.labels):
        return rule.labels[int(value)][:MAX_LABEL]
    if isinstance(value, bytes | str):  # what a model has written may be kept for less time than this
        return f"sha256:{hashlib.sha256(_bytes(value)).hexdigest()[:DIGITS]}"
    return str(value)[:MAX_LABEL]


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")
