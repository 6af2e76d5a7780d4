"""A device that is busy for a time that its model.yaml says, and needs no processor meanwhile.

A run takes `fixed_s` plus `row_s` a row; beyond `cliff_rows` rows it takes `cliff_factor` times as long, as where a
cache or a memory is outgrown. A negative value is a bad row: the run takes its time, and fails. With `bad: place` its
error stands in its place in the answer; with `bad: name` the rows are looked at first, and the bad ones named.
"""

from collections.abc import Mapping
from threading import Event

import numpy as np

from workers.inference.handler import Array, BadRows, Context, InvalidInput, Tensors


class Handler:
    def load(self, context: Context) -> None:
        config = {"row_s": 0.0, "cliff_rows": 1_000_000, "cliff_factor": 1.0, **context.config}
        self._fixed_s = float(config["fixed_s"])
        self._row_s = float(config["row_s"])
        self._cliff_rows = int(config["cliff_rows"])
        self._cliff_factor = float(config["cliff_factor"])
        self._bad = str(config.get("bad", "fail"))
        self._wait = Event().wait  # for what never comes

    def predict(self, inputs: Tensors) -> Mapping[str, Array | list[object]]:
        values = inputs["value"]
        errors: dict[int, Exception] = {row: InvalidInput("negative") for row in np.flatnonzero(values < 0).tolist()}
        if errors and self._bad == "name":
            raise BadRows(errors)
        busy_s = self._fixed_s + self._row_s * len(values)
        self._wait(busy_s * (self._cliff_factor if len(values) > self._cliff_rows else 1.0))
        if errors and self._bad == "fail":
            raise ValueError("a value is negative")
        if errors:
            return {"double": [errors.get(row, value) for row, value in enumerate((values * 2).tolist())]}
        return {"double": values * 2}
