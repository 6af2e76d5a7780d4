"""Ray Data: the digits of a file by `map_batches`, into JSON.

`python -m benchmarks.peers.ray_digits <rows.npy> <folder>` prints the seconds that it took, and the rows.
"""

import sys
import time
from typing import Any

import numpy as np
import ray

from benchmarks.peers.digits import BATCH_ROWS, Digits

Batch = dict[str, np.ndarray]


class Predict:
    def __init__(self) -> None:
        self._digits = Digits()

    def __call__(self, batch: Batch) -> dict[str, Any]:
        label, probabilities = self._digits.run(batch["data"])
        return {"label": label, "probabilities": list(probabilities)}


def main(rows: str, folder: str) -> None:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    began = time.perf_counter()
    found = ray.data.read_numpy(rows).map_batches(Predict, batch_size=BATCH_ROWS, concurrency=1)
    found.write_json(folder)
    took_s = time.perf_counter() - began
    sys.stdout.write(f"{took_s} {ray.data.read_json(folder).count()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
