"""Texts to token ids, padded to the longest of the micro-batch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

from schemas.errors import ConfigurationError, JobError
from schemas.tensors import Array
from workers.inference.model_parameters import TokenTensor


class TextTokenizer:
    """`produces` are the tensors the model wants: of input_ids, attention_mask and token_type_ids."""

    def __init__(self, tokenizer: Tokenizer, produces: Sequence[TokenTensor], pad_id: int) -> None:
        self._tokenizer = tokenizer
        self._produces = produces
        self._pad_id = pad_id

    def encode(self, texts: Array) -> dict[str, Array]:
        """Texts [rows], str or UTF-8 bytes, to int64 tensors [rows, tokens of the longest text].

        The attention mask is 1 where a token stands and 0 where padding does. Raises `JobError` for bytes that are
        no UTF-8.
        """
        encodings = self._tokenizer.encode_batch_fast([_text(element) for element in texts])
        lengths = np.array([len(encoding) for encoding in encodings])
        # One mask serves all three: ids are written where it is true, in row-major order.
        mask = np.arange(max(1, lengths.max())) < lengths[:, np.newaxis]
        return {name: self._tensor(name, encodings, mask) for name in self._produces}

    def _tensor(self, name: TokenTensor, encodings: Sequence[Encoding], mask: Array) -> Array:
        match name:
            case "input_ids":
                return _padded(mask, [encoding.ids for encoding in encodings], self._pad_id)
            case "token_type_ids":
                return _padded(mask, [encoding.type_ids for encoding in encodings], 0)
            case "attention_mask":
                return mask.astype(np.int64)


def load_tokenizer(path: Path, max_tokens: int, produces: Sequence[TokenTensor]) -> TextTokenizer:
    """Read a tokenizer.json. Texts are cut to `max_tokens`, special tokens included."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare `Exception`
        raise ConfigurationError(f"{path}: is not a tokenizer: {error}") from error
    padding = tokenizer.padding or {}
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return TextTokenizer(tokenizer, produces, padding.get("pad_id", 0))


def _text(element: str | bytes) -> str:
    if isinstance(element, str):
        return element
    try:
        return element.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JobError(f"a text is not UTF-8: byte {error.start} of it cannot be read") from error


def _padded(mask: Array, rows: list[list[int]], filler: int) -> Array:
    padded = np.full(mask.shape, filler, dtype=np.int64)
    padded[mask] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return padded
