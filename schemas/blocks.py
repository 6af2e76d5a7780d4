"""Row blocks: rows of one model version in one job, each answered by itself. Pure.

A block goes out as an Open Inference Protocol request with raw tensors, and comes back as a response with raw tensors,
of which `schemas.row_errors` tells the form.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np

from schemas.document import InputDocument, InputTensor
from schemas.errors import ErrorBody, OutputInvalid
from schemas.jobs import OCTET_STREAM, Payload
from schemas.results import read_response, tokens_of
from schemas.row_errors import RowError
from schemas.tensors import Array, datatype_of, to_raw

# Ends that a single row may have caused, of all the rows that ran with it.
_OF_A_ROW: Final = frozenset(
    {"model_crashed", "time_limit_exceeded", "out_of_memory", "output_invalid", "payload_too_large"}
)


class BlockAnswer(msgspec.Struct, frozen=True):
    """What a block's rows gave. `outputs` are arrays of shape [rows without an error, ...], in order; `errors` are
    those of the other rows, by row from 0. `tokens` says how many the text of each row became, if there were any."""

    outputs: Mapping[str, Array]
    errors: Mapping[int, ErrorBody]
    tokens: Sequence[int] = ()

    def places(self, rows: int) -> Array:
        """Where in the outputs each of the block's `rows` stands; -1 where it has an error. Shape [rows], int64."""
        good = np.ones(rows, dtype=bool)
        good[list(self.errors)] = False
        return np.where(good, np.cumsum(good) - 1, -1)


def finite_answer(answer: BlockAnswer, rows: int) -> BlockAnswer:
    """The same for who writes JSON, which has no words for NaN and infinity: rows that hold some have an error."""
    bad = np.zeros(rows - len(answer.errors), dtype=bool)
    for array in answer.outputs.values():
        if array.dtype.kind == "f" and len(array) == len(bad):
            bad |= ~np.isfinite(array).reshape(len(bad), -1).all(axis=1)
    if not bad.any():
        return answer
    good_rows = np.flatnonzero(answer.places(rows) >= 0)
    why = OutputInvalid("the outputs hold NaN or infinity, which JSON cannot").body()
    errors = {**answer.errors, **{int(row): why for row in good_rows[bad]}}
    return BlockAnswer({name: array[~bad] for name, array in answer.outputs.items()}, errors, answer.tokens)


def encode_block(inputs: Mapping[str, Array], parameters: Mapping[str, Any] = MappingProxyType({})) -> Payload:
    """A request for arrays of shape [rows, ...], in the model's own types, that wants all outputs raw."""
    raw = [to_raw(array) for array in inputs.values()]
    described = [
        InputTensor(name, array.shape, datatype_of(array), parameters={"binary_data_size": len(each)})
        for (name, array), each in zip(inputs.items(), raw, strict=True)
    ]
    head = msgspec.json.encode(InputDocument(inputs=described, parameters={**parameters, "binary_data_output": True}))
    return Payload(b"".join([head, *raw]), OCTET_STREAM, len(head))


def may_be_a_row(error: ErrorBody | None) -> bool:
    """Whether a block that ended with `error` failed as a whole for what one of its rows may have done."""
    return error is not None and error.code in _OF_A_ROW


def read_block_answer(result: Payload) -> BlockAnswer:
    """The answer in a block's result. Raises `ValueError` for what is none."""
    response, arrays = read_response(result)
    told: Any = response.parameters.get("row_errors", [])
    errors = msgspec.convert(told, list[RowError])
    outputs = {output.name: array for output, array in zip(response.outputs, arrays, strict=True)}
    return BlockAnswer(outputs, {each.row: each.error for each in errors}, tokens_of(response))
