"""Texts to token ids."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from tokenizers import Encoding, Tokenizer

from schemas.errors import ConfigurationError, InvalidInput
from schemas.tensors import Array
from workers.inference.models.model_parameters import TokenTensor
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.pin import hold_to_pins


class TextTokenizer:
    """`produces` are the tensors the model wants: of input_ids, attention_mask and token_type_ids."""

    def __init__(self, tokenizer: Tokenizer, produces: Sequence[TokenTensor], pad_id: int) -> None:
        self._tokenizer = tokenizer
        self._produces = produces
        self._pad_id = pad_id

    def encode_each(self, inputs: Sequence[Array]) -> list[dict[str, Array]]:
        """Of each input, texts [rows], str or UTF-8 bytes, the int64 tensors [rows, tokens of the longest text].

        The attention mask is 1 where a token stands and 0 where padding does. All is one call of the tokenizer, and the
        interpreter is free for other threads while it works. Raises `InvalidInput` for bytes that are no UTF-8.
        """
        texts = [_text(element) for texts in inputs for element in texts]
        encodings = self._tokenizer.encode_batch_fast(texts)
        ends = accumulate(map(len, inputs), initial=0)
        return [self._tensors(encodings[start:end]) for start, end in pairwise(ends)]

    def _tensors(self, encodings: Sequence[Encoding]) -> dict[str, Array]:
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


def load_tokenizer(version: ModelVersion) -> TextTokenizer:
    """Read the tokenizer.json of a version that has one. Texts are cut to its `max_tokens`, special tokens included.

    Raises `ConfigurationError` for a file that is no tokenizer, or not the one that is pinned.
    """
    parameters, path = version.parameters.tokenizer, version.tokenizer_file
    assert parameters is not None and path is not None  # noqa: S101, PT018 - the caller's condition
    try:
        data = path.read_bytes()
        hold_to_pins(path, data, version.pins)
        tokenizer = Tokenizer.from_buffer(data)
    except ConfigurationError:
        raise
    except Exception as error:  # the library raises bare `Exception`
        raise ConfigurationError(f"{path}: is not a tokenizer: {error}") from error
    padding = tokenizer.padding or {}
    tokenizer.no_padding()
    tokenizer.enable_truncation(parameters.max_tokens)
    return TextTokenizer(tokenizer, parameters.produces, padding.get("pad_id", 0))


def _text(element: str | bytes) -> str:
    if isinstance(element, str):
        return element
    try:
        return element.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"a text is not UTF-8: byte {error.start} of it cannot be read") from error


def _padded(mask: Array, rows: list[list[int]], filler: int) -> Array:
    padded = np.full(mask.shape, filler, dtype=np.int64)
    padded[mask] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return padded
