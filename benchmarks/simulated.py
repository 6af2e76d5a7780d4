"""A model repository with a simulated device in it, so that what is measured is the worker and not two cores."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

from schemas.jobs import Payload
from schemas.topics import Lane, LaneClass

MODEL: Final = "simulated"
VERSION: Final = "1"
LANE: Final = Lane(MODEL, VERSION, LaneClass.LIVE)
TRUST: Final = {"PENSTOCK_WORKER_TRUST": "code"}
_HANDLER: Final = Path(__file__).with_name("handlers") / "simulated.py"


def write_simulated(
    repository: Path,
    device: Mapping[str, float | str],
    max_batch_size: int,
    *,
    adaptive: bool = True,
    max_wait_s: float = 0.0,
) -> None:
    """Put the model into `repository`; `device` as `benchmarks.handlers.simulated` takes it."""
    folder = repository / MODEL / VERSION
    folder.mkdir(parents=True)
    code = _HANDLER.read_bytes()
    (folder / "handler.py").write_bytes(code)
    described: dict[str, Any] = {
        "name": MODEL,
        "platform": "python_handler",
        "trust": "code",
        "sha256": {"handler.py": hashlib.sha256(code).hexdigest()},
        "max_batch_size": max_batch_size,
        "input": [{"name": "value", "data_type": "TYPE_FP32", "dims": []}],
        "output": [{"name": "double", "data_type": "TYPE_FP32", "dims": []}],
        "dynamic_batching": {"adaptive": adaptive, "max_queue_delay_microseconds": int(max_wait_s * 1e6)},
        "parameters": {"handler": {"config": dict(device)}},
    }
    (repository / MODEL / "model.yaml").write_text(yaml.safe_dump(described))


def payloads(values: Iterable[float]) -> list[Payload]:
    """A job of one row for each value."""
    return [Payload(orjson.dumps({"inputs": [{**_TENSOR, "data": [value]}]})) for value in values]


_TENSOR: Final = {"name": "value", "datatype": "FP32", "shape": [1]}
