"""Models for tests: one that answers at once and can be told to choke, one that can be held in the middle of a run."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from schemas.tensors import Array


class Adder:
    """Gives the number and its double. Chokes, as it is told, on a micro-batch with one of the `poison` values."""

    def __init__(
        self,
        poison: frozenset[float] = frozenset(),
        choke: Callable[[], BaseException] = lambda: ValueError("secret: /etc/model/weights"),
    ) -> None:
        self.poison = poison
        self.choke = choke
        self.batches: list[list[float]] = []

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        values = inputs["x"].ravel().tolist()
        self.batches.append(values)
        if self.poison.intersection(values):
            raise self.choke()
        return {"same": inputs["x"].copy(), "double": np.float32(2) * inputs["x"]}


class HeldAdder(Adder):
    """Each run waits until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self._turnstile = threading.Semaphore(0)
        self._began = threading.Semaphore(0)

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        outputs = super().run(inputs, parameters)
        self._began.release()
        assert self._turnstile.acquire(timeout=30), "the test has forgotten a run"
        return outputs

    def let_go(self, runs: int = 1) -> None:
        self._turnstile.release(runs)

    def wait_for_runs(self, runs: int) -> None:
        """Block until so many runs have begun in all, since the first call."""
        for _ in range(runs):
            assert self._began.acquire(timeout=30), "a run has not begun"
