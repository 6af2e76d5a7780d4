"""Text in: a tokenizer in front of a model that takes token ids."""

from collections.abc import Mapping
from typing import Any

from schemas.tensors import Array
from workers.inference.backends.protocol import Backend
from workers.inference.text import TextTokenizer


class TokenizedBackend:
    """Replaces the input `text_input`, one text a row, by what the tokenizer makes of it."""

    def __init__(self, tokenizer: TextTokenizer, inner: Backend, text_input: str) -> None:
        self._tokenizer = tokenizer
        self._inner = inner
        self._text_input = text_input

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        others = {name: array for name, array in inputs.items() if name != self._text_input}
        return self._inner.run({**self._tokenizer.encode(inputs[self._text_input]), **others}, parameters)

    def close(self) -> None:
        self._inner.close()
