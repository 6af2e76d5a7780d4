"""Items to arrays and back: rows of many jobs stacked for one run, outputs split by job. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np

from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.item import Item


def same_shape(signature: Signature, items: Sequence[Item]) -> list[list[Item]]:
    """The items in groups whose rows can be stacked: equal in every dimension but the first. Order is kept."""
    varying = [spec.name for spec in signature.inputs if -1 in spec.row_shape]
    if not varying:  # what is fixed has been checked
        return [list(items)]
    groups: dict[tuple[tuple[int, ...], ...], list[Item]] = {}
    for item in items:
        inputs = item.request.inputs  # in the client's order: jobs may list the same inputs differently
        groups.setdefault(tuple(inputs[name].shape[1:] for name in varying), []).append(item)
    return list(groups.values())


def stack(signature: Signature, items: Sequence[Item]) -> dict[str, Array]:
    """One array an input, of shape [rows of all items, ...]. Always a copy: inputs may be views of a record."""
    return {spec.name: np.concatenate([item.request.inputs[spec.name] for item in items]) for spec in signature.inputs}


def split(outputs: Mapping[str, Array], items: Sequence[Item]) -> list[dict[str, Array]]:
    """Each item's own rows of every output, as views."""
    parts: list[dict[str, Array]] = []
    start = 0
    for item in items:
        end = start + item.rows
        parts.append({name: array[start:end] for name, array in outputs.items()})
        start = end
    return parts
