"""What a signature says of an input's values beyond their type and shape: which bytes are text, how long texts may be
together, which token ids there are. Checked wherever an input is: at the gateway, the router and the worker.
"""

from typing import Final

from schemas.errors import InvalidInput, PayloadTooLarge
from schemas.signature import TensorSpec
from schemas.tensors import Array

# Texts that become tokens are padded to the longest of their request before they run: 128 MiB a tensor.
MAX_PADDED_TOKENS: Final = 16 * 1024 * 1024


def check_values(spec: TensorSpec, array: Array, field: str) -> Array:
    """`array` itself. Raises `InvalidInput` or `PayloadTooLarge` naming the field and the rule."""
    if spec.text:
        _check_text(array, field)
    if spec.max_tokens:
        _check_tokens(spec, array, field)
    if spec.vocab_size:
        _check_ids(spec, array, field)
    return array


def _check_text(array: Array, field: str) -> None:
    for place, element in enumerate(array.flat):
        if isinstance(element, bytes):
            try:
                element.decode()
            except UnicodeDecodeError as error:
                raise InvalidInput(
                    f"{field} holds bytes that are not UTF-8 text: byte {error.start} of element {place} is not",
                    param=field,
                ) from error


def _check_tokens(spec: TensorSpec, array: Array, field: str) -> None:
    """A text has at most as many tokens as bytes, give or take a few: enough to find what would fill the memory."""
    rows = len(array)
    longest = min(max(map(_utf8_bytes, array.flat), default=0), spec.max_tokens)
    if rows * longest > MAX_PADDED_TOKENS:
        raise PayloadTooLarge(
            f"{field}: {rows} texts, padded to the longest of them, are up to {rows * longest} tokens; the limit is "
            f"{MAX_PADDED_TOKENS}: send fewer texts in one request, or long and short ones apart",
            param=field,
        )


def _utf8_bytes(text: str | bytes) -> int:
    """As it travels, so that all who check it find the same."""
    return len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode())


def _check_ids(spec: TensorSpec, array: Array, field: str) -> None:
    if not array.size:
        return
    for found in (int(array.min()), int(array.max())):
        if not 0 <= found < spec.vocab_size:
            raise InvalidInput(f"{field} holds {found}; token ids are 0 to {spec.vocab_size - 1}", param=field)
