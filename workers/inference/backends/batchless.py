"""Graphs of which some tensors have no batch dimension: a threshold, or as many boxes as an image has things on it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from schemas.tensors import Array
from workers.inference.backends.protocol import Backend


class BatchlessBackend:
    """Runs one row at a time: of the tensors `names` it takes the dimension of the rows off, and puts it on again."""

    def __init__(self, inner: Backend, names: frozenset[str]) -> None:
        self._inner = inner
        self._names = names

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        row = {name: array.reshape(array.shape[1:]) if name in self._names else array for name, array in inputs.items()}
        outputs = self._inner.run(row, parameters)
        return {name: array[np.newaxis] if name in self._names else array for name, array in outputs.items()}

    def close(self) -> None:
        self._inner.close()
