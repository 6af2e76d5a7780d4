"""Texts to token ids, before jobs are collected: that takes their lengths."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from schemas.errors import ConfigurationError, InvalidInput, JobError, TransientFailure
from schemas.tensors import Array
from workers.inference.batching.ragged_rows import RaggedRows
from workers.inference.models.model_parameters import TokenTensor
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.pin import hold_to_pins

if TYPE_CHECKING:  # a worker without models of texts need not have it
    from tokenizers import Tokenizer

# What is tokenized at a time. Until they are made arrays, tokens take some three hundred bytes each.
CHUNK_TEXTS: Final = 1024
CHUNK_CHARACTERS: Final = 256 * 1024
# A tokenizer makes tokens of a whole text before it cuts them to `max_tokens`. So the text is cut before, where it has
# many more characters than so many tokens are written with.
READ_CHARACTERS_A_TOKEN: Final = 128


class TextTokenizer:
    """`produces` are the tensors the model wants: of input_ids, attention_mask and token_type_ids.

    Texts are cut to `max_tokens`, which `tokenizer` does. `vocab_size` is how many token ids the model has, where that
    is known.
    """

    def __init__(
        self, tokenizer: "Tokenizer", produces: Sequence[TokenTensor], max_tokens: int, vocab_size: int | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._produces = produces
        self._read_characters = max_tokens * READ_CHARACTERS_A_TOKEN
        self._vocab_size = vocab_size

    def encode_each(self, inputs: Sequence[Array]) -> list[dict[str, RaggedRows]]:
        """Of each input, texts [rows], str or UTF-8 bytes, the tensors [rows, tokens], as ragged as the texts are.

        The interpreter is free for other threads while the tokenizer works. Raises `InvalidInput` for bytes that are no
        UTF-8, and `JobError` for a token that the model does not have.
        """
        texts = [_text(element)[: self._read_characters] for array in inputs for element in array]
        tensors = self._encode(texts)
        if len(inputs) == 1:
            return [tensors]
        ends = accumulate(map(len, inputs), initial=0)
        return [{name: tensor[start:end] for name, tensor in tensors.items()} for start, end in pairwise(ends)]

    def _encode(self, texts: Sequence[str]) -> dict[str, RaggedRows]:
        parts = [self._encode_chunk(chunk) for chunk in _chunks(texts)]
        ids, types, lengths = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        if self._vocab_size is not None and ids.size and ids.max() >= self._vocab_size:
            raise JobError(f"a text has token {ids.max()}, and the model has tokens 0 to {self._vocab_size - 1}")
        values = {"input_ids": ids, "token_type_ids": types, "attention_mask": np.ones(len(ids), np.uint8)}
        return {name: RaggedRows(values[name], lengths) for name in self._produces}

    def _encode_chunk(self, texts: Sequence[str]) -> tuple[Array, Array, Array]:
        """Ids and types of all tokens, and how many each text has."""
        encodings = self._tokenizer.encode_batch_fast(texts)
        ids = np.concatenate([np.array(encoding.ids, np.int32) for encoding in encodings])
        types = np.concatenate([np.array(encoding.type_ids, np.int32) for encoding in encodings])
        return ids, types, np.array([len(encoding) for encoding in encodings])


class LazyTokenizer:
    """Loads the tokenizer of `version` when it is first needed, which blocks. In any thread."""

    def __init__(self, version: ModelVersion) -> None:
        self._version = version

    @property
    def input(self) -> str:
        assert self._version.parameters.tokenizer is not None  # noqa: S101 - the caller's condition
        return self._version.parameters.tokenizer.input

    @property
    def loaded(self) -> bool:
        return "_tokenizer" in self.__dict__

    def encode_each(self, inputs: Sequence[Array]) -> list[dict[str, RaggedRows]]:
        """As `TextTokenizer.encode_each`. Raises `TransientFailure` where the file cannot be read at the moment."""
        return self._tokenizer.encode_each(inputs)

    @cached_property
    def _tokenizer(self) -> TextTokenizer:
        try:
            return load_tokenizer(self._version)
        except ConfigurationError as error:  # it was in order when the version was loaded
            raise TransientFailure(f"{self._version.name}: its tokenizer cannot be read at the moment") from error


def tokenizer_of(version: ModelVersion) -> LazyTokenizer | None:
    return None if version.tokenizer_file is None else LazyTokenizer(version)


def load_tokenizer(version: ModelVersion) -> TextTokenizer:
    """Read the tokenizer.json of a version that has one. Texts are cut to its `max_tokens`, special tokens included.

    Raises `ConfigurationError` for a file that is no tokenizer, or not the one that is pinned.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - see above

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
    tokenizer.no_padding()
    tokenizer.enable_truncation(parameters.max_tokens)
    return TextTokenizer(tokenizer, parameters.produces, parameters.max_tokens, version.parameters.vocab_size)


def _text(element: str | bytes) -> str:
    if isinstance(element, str):
        return element
    try:
        return element.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"a text is not UTF-8: byte {error.start} of it cannot be read") from error


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in order, a few at a time; one at least."""
    start = characters = 0
    for place, text in enumerate(texts):
        if place > start and (place - start == CHUNK_TEXTS or characters + len(text) > CHUNK_CHARACTERS):
            yield texts[start:place]
            start, characters = place, 0
        characters += len(text)
    yield texts[start:]
