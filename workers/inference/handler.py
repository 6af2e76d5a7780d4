"""What the author of a `handler.py` may import. These names stay as they are.

A handler is a class `Handler` in the `handler.py` of a version whose platform is `python_handler`. It inherits nothing;
all of its methods but `predict` may be left out:

    def load(self, context: Context) -> None
        Called once, before any request. An error here and the version is not served.
    def preprocess(self, inputs: Tensors) -> Any
        Inputs by name, of shape [rows, ...], to whatever `predict` takes; without it, the inputs themselves.
    def predict(self, prepared: Any) -> Any
        The rows of many requests at once. With a second argument named `parameters`, it is also given the requests'
        parameters that model.yaml lists under `dynamic_batching.batch_by`.
    def postprocess(self, predicted: Any) -> Mapping[str, ArrayLike]
        What `predict` returned to outputs by name, of shape [rows, ...]; without it, `predict` returns those itself.

They are called in one thread, one after the other, and hold up nothing but their own model's worker. BYTES tensors are
object arrays of `bytes` on the way in, of `bytes` or `str` on the way out. Outputs may be numpy arrays of the declared
datatype, or lists. The rows are in order, and there are as many on the way out. When a call fails it is repeated
with some of the rows at a time, until the rows at fault stand alone, so a row may be seen more than once.

Raise `InvalidInput` to tell a client what is wrong with a value: it sees the message. Raise `TransientFailure` (also
seen), or let a `ConnectionError` or `TimeoutError` through, if the same request may succeed later: it is tried again.
Of any other exception a client sees the class only, and the worker's log everything.

A handler that knows which rows are at fault saves the search for them. It may put an exception in the place of a row's
output, in any column that is a list or an object array: the other rows keep their outputs. Or it raises
`BadRows({row: exception, ...})`: those rows fail, and the others are run again. Name all bad rows at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import InvalidInput, TransientFailure
from schemas.tensors import Array
from workers.inference.execution.bad_rows import BadRows

__all__ = ["Array", "BadRows", "Context", "InvalidInput", "Tensors", "TransientFailure"]

Tensors = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Context:
    """Where a handler finds itself.

    `directory` holds handler.py and the other files that model.yaml pins, and nothing else; it stands as long as the
    version is served. `device` is `cpu`, or `cuda:<index>` as torch counts. `config` is `parameters.handler.config` of
    model.yaml.
    """

    model: str
    version: str
    directory: Path
    device: str
    config: Mapping[str, Any]
