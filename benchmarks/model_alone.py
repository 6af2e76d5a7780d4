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
from workers.inference.decoding.lazy_tokenizer import LazyTokenizer, texts_of
from workers.inference.models.repository import ModelRepository


def measure(repository: str, name: str, workload: str, shorten: str, device: str = "cpu") -> float:
    (version,) = ModelRepository(Path(repository)).scan([name])
    backend = load_backend(version, device)
    texts = texts_of(version)
    batches = WORKLOADS[workload].shortened(int(shorten)).stacked(version.max_batch_size)
    backend.run(_for_network(texts, batches[0]))
    started = time.perf_counter()
    for batch in batches:
        backend.run(_for_network(texts, batch))
    rows = sum(len(next(iter(batch.values()))) for batch in batches)
    return rows / (time.perf_counter() - started)


def _for_network(texts: LazyTokenizer | None, batch: dict[str, Array]) -> dict[str, Array]:
    return batch if texts is None else texts.encode([batch[texts.input]])[0]


if __name__ == "__main__":
    sys.stdout.write(f"{measure(*sys.argv[1:6])}\n")
