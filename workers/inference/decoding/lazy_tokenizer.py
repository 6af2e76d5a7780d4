"""The text input of a model version, made into tokens before its jobs are collected: that takes their lengths."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from schemas.errors import ConfigurationError, TransientFailure
from schemas.tensors import Array
from workers.inference.models.model_version import ModelVersion

if TYPE_CHECKING:  # a worker without models of texts need not have what it imports
    from workers.inference.decoding.tokenizer import TextTokenizer


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

    def encode(self, inputs: Sequence[Array]) -> list[dict[str, Array]]:
        """The network's tensors for each of the inputs, as `TextTokenizer.encode_each` gives them."""
        return self._tokenizer.encode_each(inputs)

    @cached_property
    def _tokenizer(self) -> "TextTokenizer":
        from workers.inference.decoding.tokenizer import load_tokenizer  # noqa: PLC0415 - see above

        try:
            return load_tokenizer(self._version)
        except ConfigurationError as error:  # it was in order when the version was loaded
            raise TransientFailure(f"{self._version.name}: its tokenizer cannot be read at the moment") from error


def texts_of(version: ModelVersion) -> LazyTokenizer | None:
    return None if version.tokenizer_file is None else LazyTokenizer(version)
