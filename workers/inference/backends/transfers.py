"""How a micro-batch reaches torch's device, and how its outputs come back."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from schemas.tensors import Array


class Transfers(Protocol):
    def to_device(self, arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        """The arrays as tensors that what is started after this call may read."""

    def to_host(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
        """The tensors as arrays, complete when this returns."""


class PlainTransfers:
    """One after the other, waiting for each. On the CPU nothing is copied but what torch may not have as it is."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def to_device(self, arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        # Torch has no read-only tensors, and warns of arrays that are.
        writable = {name: array if array.flags.writeable else array.copy() for name, array in arrays.items()}
        return {name: torch.from_numpy(array).to(self._device) for name, array in writable.items()}

    def to_host(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
        return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


class PinnedTransfers:
    """For CUDA: through page-locked memory, from which the device fetches by itself while the next is being staged.

    Torch keeps page-locked memory for reuse, and gives no part of it out again before the copies from it are done.
    Source: PyTorch's notes on CUDA semantics (pinned memory buffers; streams).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def to_device(self, arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        runs = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copies):
            tensors = {name: _staged(array).to(self._device, non_blocking=True) for name, array in arrays.items()}
        runs.wait_stream(self._copies)
        for tensor in tensors.values():
            tensor.record_stream(runs)  # else its memory is free for the next copy as soon as nobody holds it
        return tensors

    def to_host(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
        on_host = {name: tensor.to("cpu", non_blocking=True) for name, tensor in tensors.items()}
        torch.cuda.current_stream(self._device).synchronize()
        return {name: tensor.numpy() for name, tensor in on_host.items()}


def _staged(array: Array) -> torch.Tensor:
    datatype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    pinned = torch.empty(array.shape, dtype=datatype, pin_memory=True)
    pinned.numpy()[...] = array
    return pinned
