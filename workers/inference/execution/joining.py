"""The outputs of a job that ran in slices. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np

from schemas.errors import OutputInvalid
from schemas.tensors import Array


def joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The outputs of several runs as those of one. A size that the model chooses itself may differ between them."""
    if len(parts) == 1:
        return dict(parts[0])
    whole: dict[str, Array] = {}
    for name, first in parts[0].items():
        arrays = [part[name] for part in parts]
        other = next((array for array in arrays if array.shape[1:] != first.shape[1:]), None)
        if other is not None:
            raise OutputInvalid(
                f"output {name!r} has rows of shape {list(first.shape[1:])} and of shape {list(other.shape[1:])}: "
                "send fewer rows in one request",
                param=name,
            )
        whole[name] = np.concatenate(arrays)
    return whole
