"""Real handwritten digits, and what the example model makes of them when it runs right here."""

from functools import cache
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tests.acceptance.repository import EXAMPLES

IMAGES = EXAMPLES / "digits" / "images"
DEFAULT_VERSION = "2"

Images = NDArray[np.float32]


def images(count: int, start: int = 0) -> Images:
    """Held-out digits: [count, 8, 8], from 0 (paper) to 16 (ink)."""
    with np.load(EXAMPLES / "digits" / "held_out.npz") as held_out:
        chosen: Images = held_out["images"][start : start + count].astype(np.float32)
    return chosen


def labels(rows: Images, version: str = DEFAULT_VERSION) -> list[int]:
    """What the model itself says, without any of ours around it."""
    (found,) = session(version).run(["label"], {"image": rows})
    return [int(label) for label in found]


@cache
def session(version: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(EXAMPLES / "models" / "digits" / version / "model.onnx")


def tensor(rows: Images, **changes: Any) -> dict[str, Any]:
    """An input of the Open Inference Protocol, all of it JSON. `changes` replace its members."""
    return {"name": "image", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()} | changes


def request(rows: Images, **changes: Any) -> dict[str, Any]:
    return {"inputs": [tensor(rows, **changes)]}
