"""The lever model as a handler, whose lever also does to its process what no graph can."""

from enum import IntEnum
from pathlib import Path

from tests.integration.worker.lever import MODEL, MODEL_YAML
from tests.unit.models.handlers import digest


class Odd(IntEnum):
    """Values of `spins` for `pull`."""

    EXIT = -1
    SEGFAULT = -2
    HANG = -3
    FILL_MEMORY = -4


# Of a run, in seconds. A machine that is busy with other tests must not make a sound run take so long.
RUN_LIMIT_S = 3.0

HANDLER = """
import ctypes
import os
import time
from pathlib import Path


def fill_memory():
    Path(os.environ["CONTROL_GROUP"]).write_text(str(os.getpid()))
    held = []
    while True:
        held.append(bytearray(10_000_000))


ODD = {
    -1: lambda: os._exit(7),
    -2: lambda: ctypes.string_at(0),
    -3: lambda: time.sleep(3600),
    -4: fill_memory,
}


class Handler:
    def predict(self, inputs):
        for spins in inputs["spins"].tolist():
            ODD.get(spins, int)()
        return {"double": 2 * inputs["number"]}
"""


def write_odd(repository: Path, isolation: str) -> Path:
    """The model in a model repository. Its micro-batches wait for company, so that jobs sent together run together."""
    text = (
        MODEL_YAML.replace("onnxruntime_onnx", "python_handler")
        .replace("max_batch_size: 4", "max_batch_size: 64")
        .replace("2000", "500000")
        .replace("parameters: {onnxruntime: {intra_op_threads: 1}}", "")
    )
    directory = repository / MODEL / "1"
    directory.mkdir(parents=True)
    (directory / "handler.py").write_text(HANDLER)
    more = f"""
trust: code
sha256: {{handler.py: {digest(HANDLER)}}}
isolation: {isolation}
run_limit_seconds: {RUN_LIMIT_S}
"""
    (repository / MODEL / "model.yaml").write_text(text + more)
    return repository
