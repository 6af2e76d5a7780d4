"""What a block of rows gave, as lines of JSON. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

from schemas.blocks import finite_answer, read_block_answer
from schemas.errors import ErrorBody, JobError, OutputInvalid, PenstockError
from schemas.jobs import Terminal
from schemas.predictions import predictions_of
from schemas.signature import Signature

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


class RowAnswer(msgspec.Struct, frozen=True):
    """What a row gave, as JSON's writer takes it; or its error."""

    prediction: Any = None
    error: ErrorBody | None = None


def answers_of(terminal: Terminal, rows: int, signature: Signature) -> list[RowAnswer]:
    """An answer for each of the block's rows."""
    if terminal.result is None:
        return [RowAnswer(error=terminal.error or JobError("the job has no result").body())] * rows
    try:
        answer = finite_answer(read_block_answer(terminal.result), rows)
        values = predictions_of(signature, answer.outputs) if answer.outputs else []
        places = answer.places(rows).tolist()
        return [
            RowAnswer(error=answer.errors[row]) if place < 0 else RowAnswer(values[place])
            for row, place in enumerate(places)
        ]
    except (ValueError, IndexError, PenstockError):
        return [RowAnswer(error=OutputInvalid("the result cannot be read").body())] * rows


def lines_of(first: int, answers: Sequence[RowAnswer], ids: Sequence[str] = ()) -> bytes:
    """A line a row, numbered from `first` on, with its id where rows have some."""
    if ids:
        return b"".join(_line({"row": first + place, "id": ids[place]}, each) for place, each in enumerate(answers))
    return b"".join(_line({"row": row}, answer) for row, answer in enumerate(answers, first))


def _line(named: Mapping[str, Any], answer: RowAnswer) -> bytes:
    told: Mapping[str, Any] = (
        {**named, "status": "succeeded", "prediction": answer.prediction}
        if answer.error is None
        else {**named, "status": "failed", "error": answer.error}
    )
    try:
        return orjson.dumps(told, default=msgspec.to_builtins, option=_OPTIONS)
    except (TypeError, ValueError):
        unwritable = OutputInvalid("the outputs cannot be written as JSON").body()
        return _line(named, RowAnswer(error=unwritable))
