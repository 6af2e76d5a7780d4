import json
import re

import numpy as np

from workers.inference.handler import Array, Context, InvalidInput, Tensors


class Handler:
    def load(self, context: Context) -> None:
        weights = json.loads((context.directory / "weights.json").read_text())
        self.columns = {word: column for column, word in enumerate(weights)}
        self.weights = np.array(list(weights.values()), np.float32)
        self.max_words = context.config["max_words"]

    def preprocess(self, inputs: Tensors) -> Array:
        """Texts [rows] to how often each known word stands in them [rows, words]."""
        counts = np.zeros((len(inputs["text"]), len(self.columns)), np.float32)
        for row, text in enumerate(inputs["text"]):
            words = re.findall(r"\w+", text.decode().lower())
            if len(words) > self.max_words:
                raise InvalidInput(f"a text has {len(words)} words, more than {self.max_words}", param="text")
            for word in words:
                if word in self.columns:
                    counts[row, self.columns[word]] += 1
        return counts

    def predict(self, counts: Array) -> Array:
        scores: Array = counts @ self.weights  # one product for the rows of all requests
        return scores

    def postprocess(self, scores: Array) -> Tensors:
        return {"label": np.where(scores < 0, "negative", "positive"), "score": scores}
