"""Lines as row blocks: those of one form together, and of about one size. Pure."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from schemas.batches import BLOCK_BYTES, BLOCK_ROWS, BlockLine
from schemas.blocks import encode_block
from schemas.embeddings import Encoding, as_inference, embedder_of, read_embeddings
from schemas.errors import PayloadTooLarge, PenstockError
from schemas.inputs import check_input
from schemas.jobs import Answer, Payload
from schemas.oip import InferRequest, parse_request
from schemas.signature import Signature
from schemas.tensors import raw_size
from workers.feeder.requests import LineRequest

# What one image, or all of a line's, may take once it is unpacked.
MOST_PIXEL_BYTES: Final = 256 * 1024 * 1024


class Row(NamedTuple):
    """A line that can run. `size` is what its rows and their parameters take, in bytes."""

    line: BlockLine
    request: InferRequest
    size: int


class MadeBlock(NamedTuple):
    lines: tuple[BlockLine, ...]
    payload: Payload

    @property
    def rows(self) -> int:
        return sum(line.rows for line in self.lines)


def read_row(
    signature: Signature, told: LineRequest, number: int, offset: int, length: int, most_bytes: int
) -> Row | PenstockError:
    """The line's input as the model takes it; or what is wrong with it."""
    try:
        body, encoding = _as_inference(signature, told) if told.embeddings else (told.body, None)
        checked = check_input(signature, body, _hold, most_bytes=most_bytes)
        request = parse_request(signature, checked.payload)
    except PenstockError as error:
        return error
    size = sum(map(raw_size, request.inputs.values())) + len(msgspec.json.encode(_parameters(request)))
    if size > BLOCK_BYTES:  # it is a block of its own: so is what stands before its tensors
        size = len(encode_block(request.inputs, _parameters(request)).value)
    if size > most_bytes:
        return PayloadTooLarge(f"the input takes {size} bytes as tensors; {most_bytes} at most", param="body")
    line = BlockLine(
        number,
        offset,
        length,
        checked.rows,
        told.custom_id,
        checked.answer is Answer.PREDICTIONS,
        request.outputs,
        request.id,
        encoding,
    )
    return Row(line, request, size)


def _as_inference(signature: Signature, told: LineRequest) -> tuple[Payload, Encoding]:
    asked = read_embeddings(told.body.value)
    return as_inference(asked, embedder_of(asked.model, signature)), asked.encoding_format


def make_blocks(
    rows: Sequence[Row], most_rows: int = BLOCK_ROWS, most_bytes: int = BLOCK_BYTES, run_rows: int = 1
) -> list[MadeBlock]:
    """Every row in exactly one block. None has more rows or bytes than it may, unless it is a single line.

    A block that is full has whole micro-batches of `run_rows`, where lines allow it: what is left of one runs alone.
    """
    by_form: dict[Any, list[Row]] = {}
    for row in rows:
        by_form.setdefault(form_of(row.request), []).append(row)
    blocks: list[MadeBlock] = []
    for alike in by_form.values():
        taken: list[Row] = []
        count = size = 0
        for row in sorted(alike, key=lambda each: each.size / each.line.rows):
            while taken and (count + row.line.rows > most_rows or size + row.size > most_bytes):
                whole = _whole_runs(taken, run_rows)
                blocks.append(_block(taken[:whole]))
                taken = taken[whole:]
                count, size = sum(each.line.rows for each in taken), sum(each.size for each in taken)
            taken.append(row)
            count, size = count + row.line.rows, size + row.size
        blocks.append(_block(taken))
    return blocks


def whole_blocks(rows: int, run_rows: int) -> int:
    """Of so many rows, those of full blocks; a block at least."""
    block = BLOCK_ROWS - BLOCK_ROWS % run_rows if run_rows <= BLOCK_ROWS else BLOCK_ROWS
    return max(block, rows - rows % block)


def _whole_runs(rows: Sequence[Row], run_rows: int) -> int:
    """How many of the lines are whole micro-batches together; all of them where none are."""
    counts = list(accumulate(row.line.rows for row in rows))
    return next((place for place in range(len(rows), 0, -1) if counts[place - 1] % run_rows == 0), len(rows))


def form_of(request: InferRequest) -> Any:
    """What rows must have in common to stand in one tensor, and to run together."""
    shapes = tuple((name, array.dtype.str, array.shape[1:]) for name, array in request.inputs.items())
    return shapes, msgspec.json.encode(_parameters(request), order="sorted")


def _block(rows: Sequence[Row]) -> MadeBlock:
    first = rows[0].request
    inputs = {name: np.concatenate([row.request.inputs[name] for row in rows]) for name in first.inputs}
    return MadeBlock(tuple(row.line for row in rows), encode_block(inputs, _parameters(first)))


def _parameters(request: InferRequest) -> dict[str, Any]:
    """But for the one that says how the outputs are wanted, which is the line's own affair."""
    return {name: value for name, value in request.parameters.items() if name != "binary_data_output"}


def _hold(more_bytes: int) -> None:
    if more_bytes > MOST_PIXEL_BYTES:
        raise PayloadTooLarge("the images of a line are too large once they are unpacked", param="body")
