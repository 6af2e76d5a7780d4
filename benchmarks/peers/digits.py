"""The digits as the other systems serve them: the same ONNX file, run by ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

MODEL = Path(__file__).parents[2] / "examples" / "models" / "digits" / "1" / "model.onnx"
BATCH_ROWS = 64
COLLECT_S = 0.002  # as the model's own file says


class Digits:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def predict(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """An answer for each request, which holds one image: `{"inputs": [{"data": [64 numbers], ...}]}`."""
        found = self.run(np.asarray([request["inputs"][0]["data"] for request in requests], dtype=np.float32))
        return [
            {name: values[row].tolist() for name, values in zip(self._outputs, found, strict=True)}
            for row in range(len(requests))
        ]

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """Each output, of images [rows, 8, 8] or [rows, 64]."""
        found: list[np.ndarray] = self._session.run(None, {self._input: images.reshape(-1, 8, 8)})
        return found
