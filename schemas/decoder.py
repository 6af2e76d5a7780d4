"""The common request read in one typed decode: plain tensors of the model's inputs, all of them, in its order.

This is a short cut and decides nothing: what it does not take, for whatever reason, the full reading takes, or says why
not (`schemas.inputs`). Whatever it does take, the full reading takes as well, with the same values.
"""

import math
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import NODEFAULT, UNSET, Meta, UnsetType

from schemas.jobs import JSON, OCTET_STREAM, Answer, Payload
from schemas.signature import INTEGERS, Datatype, Signature, TensorSpec
from schemas.tensors import DTYPES, FLOATS, MAX_ELEMENTS, Array, all_finite, fits, from_raw
from schemas.values import MAX_PADDED_TOKENS, check_values

# How the `struct` module writes each number: it rounds as numpy does, and refuses what is out of range.
_CODES: Final[dict[Datatype, str]] = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
# Short values in JSON can be larger as tensors. Up to this, which fits into a record however small those may be, they
# are sent as tensors all the same; beyond it, as what is smaller.
RAW_ANYHOW_BYTES: Final = 48 * 1024
# A number near the ends of what 64 bits hold takes as long to read as hundreds of others. So many of them take
# milliseconds; more are not read here.
FEW_EXTREMES: Final = 256
_EXTREME: Final = re.compile(rb"[eE][+-]?0*[23]\d\d")
_TENSOR_MEMBERS: Final = 4
_literal: Final[Any] = Literal  # of names that are known at run time only


class CheckedInput(msgspec.Struct, frozen=True):
    """Inputs that fit the signature, as they will travel."""

    payload: Payload
    rows: int
    answer: Answer


class Packed(NamedTuple):
    """A request of JSON as JSON followed by raw tensors, `json_bytes` of it JSON."""

    value: bytes
    json_bytes: int
    rows: int


class Unpacked(NamedTuple):
    """The tensors of a request by name, each of shape [rows, ...]."""

    inputs: dict[str, Array]
    rows: int
    id: str | None


class InputDecoder:
    """Made once for the inputs of a model version."""

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        self._tensors = tensors = [_Tensor(spec) for spec in inputs]
        self._flat = _document(*[tensor.described(("data", tensor.flat)) for tensor in tensors])
        self._nested = _document(*[tensor.described(("data", tensor.nested)) for tensor in tensors])
        self._raw = _document(*[tensor.described(("parameters", _Parameters)) for tensor in tensors])
        self._members = 1 + _TENSOR_MEMBERS * len(tensors)
        self._raw_members = self._members + len(tensors)  # the size
        self._unpacks = len({spec.name for spec in inputs}) == len(inputs)
        self._packs = self._unpacks and all(tensor.packs for tensor in tensors)
        self._has_texts = any(spec.datatype == "BYTES" for spec in inputs)
        self._has_floats = any(spec.datatype in FLOATS for spec in inputs)

    def pack(self, text: bytes) -> Packed | None:
        """A request of JSON with raw tensors; None for what has to be read in full."""
        try:
            document, data = self._read(text)
            heads = [
                tensor.head(found.shape, raw)
                for tensor, found, raw in zip(self._tensors, document.inputs, data, strict=True)
            ]
            rows = _rows(document)
        except Exception:
            return None
        job_id = b',"id":' + msgspec.json.encode(document.id) if document.id else b""
        head = b'{"inputs":[' + b",".join(heads) + b"]" + job_id + b"}"
        return Packed(b"".join([head, *data]), len(head), rows)

    def _read(self, text: bytes) -> tuple[Any, list[bytes]]:
        """A request of JSON, and the values of its tensors as raw bytes. Raises whatever it meets."""
        if not self._packs or text.count(b":") > self._members + 1:  # more members than it takes, or texts with colons
            raise _NotTaken
        if self._has_floats and extremes(text) > FEW_EXTREMES:
            raise _NotTaken
        nested = b"[[" in text
        document = (self._nested if nested else self._flat).decode(text)
        _hold_members(document, text, self._members)
        data = [
            tensor.pack(found.shape, _flattened(found.data, found.shape) if nested else found.data)
            for tensor, found in zip(self._tensors, document.inputs, strict=True)
        ]
        return document, data

    def unpack(self, payload: Payload) -> Unpacked | None:
        """The tensors of a request; None for what has to be read in full."""
        try:
            document, inputs = self._of_json(payload.value) if payload.json_length is None else self._of_raw(payload)
            rows = _rows(document)
        except Exception:
            return None
        return Unpacked(inputs, rows, document.id or None)

    def _of_json(self, text: bytes) -> tuple[Any, dict[str, Array]]:
        if self._has_texts:  # what they become is the full reading's
            raise _NotTaken
        document, data = self._read(text)
        found = zip(self._tensors, document.inputs, data, strict=True)
        return document, {each.name: tensor.packed(each.shape, raw) for tensor, each, raw in found}

    def _of_raw(self, payload: Payload) -> tuple[Any, dict[str, Array]]:
        value, position = payload.value, payload.json_length
        if not self._unpacks or position is None or not 0 < position <= len(value):
            raise _NotTaken
        text = value[:position]
        document = self._raw.decode(text)
        _hold_members(document, text, self._raw_members)
        inputs = {}
        for tensor, found in zip(self._tensors, document.inputs, strict=True):
            size = found.parameters.binary_data_size
            inputs[found.name] = tensor.unpack(found.shape, value, position, size)
            position += size
        if position != len(value):
            raise _NotTaken
        return document, inputs


class _Tensor:
    """What is known of an input before any request comes."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._fixed = None if -1 in spec.row_shape else spec.row_shape
        self._row_elements = math.prod(spec.row_shape)
        self._dtype = DTYPES[spec.datatype]
        self._code = _CODES.get(spec.datatype)
        self._finite = spec.datatype in FLOATS and not spec.allow_nan
        self._checked = bool(spec.text or spec.max_tokens or spec.vocab_size)
        # Rules of values that the types below cannot say are left to the full reading.
        takes_ids, takes_texts = spec.datatype in INTEGERS, spec.datatype == "BYTES"
        self.packs = (takes_ids or not spec.vocab_size) and (takes_texts or not spec.max_tokens)
        self._most_rows = MAX_PADDED_TOKENS // spec.max_tokens if spec.max_tokens else math.inf
        element: Any = {"BOOL": bool, "BYTES": str}.get(spec.datatype, float if spec.datatype in FLOATS else int)
        if takes_ids and spec.vocab_size:
            element = Annotated[int, Meta(ge=0, lt=spec.vocab_size)]
        self.flat: Any = list[element]
        for _ in spec.shape:
            element = list[element]
        self.nested: Any = element
        name = msgspec.json.encode(spec.name).replace(b"%", b"%%")
        sizes = b",".join([b"%d"] * len(spec.shape))
        self._head = b'{"name":%b,"datatype":"%b","shape":[%b],"parameters":{"binary_data_size":%%d}}' % (
            name,
            spec.datatype.encode(),
            sizes,
        )

    def described(self, *more: tuple[str, Any]) -> type[msgspec.Struct]:
        """The type of the tensor as a request describes it."""
        fields = [("name", _literal[self._spec.name]), ("datatype", _literal[self._spec.datatype])]
        return msgspec.defstruct("Tensor", [*fields, ("shape", tuple[int, ...]), *more], **_STRICT)

    def pack(self, shape: tuple[int, ...], values: Sequence[Any]) -> bytes:
        """Raises whatever it meets."""
        if len(values) != self._elements(shape):
            raise _NotTaken
        if self._code is not None:
            return struct.pack(f"<{len(values)}{self._code}", *values)
        texts = [text.encode() for text in values]
        return b"".join([part for text in texts for part in (len(text).to_bytes(4, "little"), text)])

    def unpack(self, shape: tuple[int, ...], value: bytes, position: int, size: int) -> Array:
        """The array in the `size` bytes from `position` on, which are not copied. Raises whatever it meets."""
        elements = self._elements(shape)
        if self._code is None or self._code == "?":
            array = from_raw(self._spec, memoryview(value)[position : position + size], shape, "")
        elif size != elements * self._dtype.itemsize:
            raise _NotTaken
        else:
            array = np.ndarray(shape, self._dtype, value, position)
            if self._finite and not all_finite(array):
                raise _NotTaken
        return check_values(self._spec, array, "") if self._checked else array

    def packed(self, shape: tuple[int, ...], raw: bytes) -> Array:
        """The array of numbers that were packed, which are checked by then."""
        return np.ndarray(shape, self._dtype, raw)

    def head(self, shape: tuple[int, ...], raw: bytes) -> bytes:
        """The tensor described as one whose values follow raw."""
        return self._head % (*shape, len(raw))

    def _elements(self, shape: tuple[int, ...]) -> int:
        """How many elements the shape has, where it is the model's."""
        if not shape or not 0 < shape[0] <= self._most_rows:
            raise _NotTaken
        if shape[1:] == self._fixed:
            elements = shape[0] * self._row_elements
        elif fits(self._spec.shape, shape) and min(shape) >= 0:
            elements = math.prod(shape)
        else:
            raise _NotTaken
        if elements > MAX_ELEMENTS or (elements == 0 and shape[0] > 1):
            raise _NotTaken
        return elements


class _Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    binary_data_size: Annotated[int, Meta(ge=0)]


class _NotTaken(Exception):
    """The request has to be read in full."""


_STRICT: Final[dict[str, Any]] = {"frozen": True, "forbid_unknown_fields": True, "gc": False}


def extremes(text: bytes) -> int:
    """How many numbers in JSON may be near the ends of what 64 bits hold; 0 where there can be but a few."""
    if text.count(b"e") + text.count(b"E") <= FEW_EXTREMES:
        return 0
    return len(_EXTREME.findall(text))


def _document(*tensors: type[msgspec.Struct]) -> "msgspec.json.Decoder[Any]":
    inputs: Any = tuple[tensors]  # type: ignore[valid-type]
    fields: list[tuple[str, Any, Any]] = [("inputs", inputs, NODEFAULT), ("id", str | UnsetType | None, UNSET)]
    return msgspec.json.Decoder(msgspec.defstruct("Request", fields, **_STRICT))


def _hold_members(document: Any, text: bytes, members: int) -> None:
    """Leaves out what may have a member that the decoder dropped, as it does all but the last of a name."""
    if text.count(b":") > members + (document.id is not UNSET):
        raise _NotTaken


def _rows(document: Any) -> int:
    first, *others = document.inputs
    rows: int = first.shape[0]
    for tensor in others:
        if tensor.shape[0] != rows:
            raise _NotTaken
    return rows


def _flattened(values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Lists that are nested as the shape says, as one."""
    if len(values) != shape[0]:
        raise _NotTaken
    for size in shape[1:]:
        if set(map(len, values)) != {size}:
            raise _NotTaken
        values = list(chain.from_iterable(values))
    return values


def check_common(signature: Signature, payload: Payload) -> CheckedInput | None:
    """A common request that fits the signature, as it will travel; None for what has to be read in full."""
    if payload.json_length is None and payload.content_type == JSON:
        packed = decoder_of(signature.inputs).pack(payload.value)
        if packed is None:
            return None
        return CheckedInput(smaller(payload, packed.value, packed.json_bytes), packed.rows, Answer.TENSORS)
    if payload.json_length is not None and payload.content_type == OCTET_STREAM:
        unpacked = decoder_of(signature.inputs).unpack(payload)
        return unpacked and CheckedInput(payload, unpacked.rows, Answer.TENSORS)
    return None


def smaller(payload: Payload, value: bytes, json_bytes: int) -> Payload:
    """See `RAW_ANYHOW_BYTES`: nothing is refused for the form that we send it in."""
    if len(value) > max(len(payload.value), RAW_ANYHOW_BYTES):
        return payload
    return Payload(value, OCTET_STREAM, json_bytes)


@lru_cache(maxsize=256)
def decoder_of(inputs: tuple[TensorSpec, ...]) -> InputDecoder:
    """The decoder of a model's inputs; most signatures are asked for again and again."""
    return InputDecoder(inputs)
