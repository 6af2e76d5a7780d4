"""The model without anything around it: `python -m benchmarks.model_alone <repository> <model/version> <workload>
<shorten> [<device>]`.

Prints the rows a second of its backend, given the same rows in micro-batches of the same size as the worker.
"""

import sys
import time
from pathlib import Path

from benchmarks.workload import WORKLOADS
from schemas.tensors import Array
from workers.inference.backends import load_backend
from workers.inference.decoding.tokenizer import LazyTokenizer, tokenizer_of
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.repository import ModelRepository


def measure(repository: str, name: str, workload: str, shorten: str, device: str = "cpu") -> float:
    (version,) = ModelRepository(Path(repository)).scan([name])
    backend = load_backend(version, device)
    tokenizer = tokenizer_of(version)
    batches = WORKLOADS[workload].shortened(int(shorten)).stacked(version.max_batch_size)
    backend.run(_for_network(version, tokenizer, batches[0]))
    started = time.perf_counter()
    for batch in batches:
        backend.run(_for_network(version, tokenizer, batch))
    rows = sum(len(next(iter(batch.values()))) for batch in batches)
    return rows / (time.perf_counter() - started)


def _for_network(version: ModelVersion, tokenizer: LazyTokenizer | None, batch: dict[str, Array]) -> dict[str, Array]:
    if tokenizer is None:
        return batch
    return version.rules.padding.stack(tokenizer.encode_each([batch[tokenizer.input]]))


if __name__ == "__main__":
    sys.stdout.write(f"{measure(*sys.argv[1:6])}\n")
