"""Looking through an input before any of it runs: each line a request, each custom id once, one version for all."""

import asyncio
import hashlib
import os
from array import array
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from schemas.batches import MOST_LINE_ERRORS, Endpoint, LineError
from schemas.tensors import Array
from stores.blobs import Blobs
from workers.feeder.lines import RawLine, read_lines
from workers.feeder.requests import LineRequest, read_request

# Lines that are looked at before others may have the loop.
CHUNK: Final = 2000


class Validated(NamedTuple):
    """An input that is valid has no errors. `model` and `version` are those that its lines name, where they do."""

    total: int
    errors: Sequence[LineError]
    line_errors: int
    model: str | None = None
    version: str | None = None


class Validation:
    """Takes 12 bytes of memory a line while it reads, and some 60 once it compares, however long lines are."""

    def __init__(self, url: str, endpoint: Endpoint, most_lines: int) -> None:
        self._url = url
        self._endpoint = endpoint
        self._most_lines = most_lines
        self._errors: list[LineError] = []
        self._line_errors = 0
        self._total = 0
        self._hash_key = os.urandom(16)
        self._hashes = array("Q")
        self._numbers = array("I")
        self._named: tuple[str, str | None] | None = None

    async def run(self, blobs: Blobs, key: str) -> Validated:
        async for chunk in in_chunks(read_lines(blobs, key), CHUNK):
            await asyncio.to_thread(self._look_at, chunk)
            if chunk[-1].number > self._most_lines:  # blank ones count: reading them takes time as well
                self._wrong(LineError(code="too_many_lines", message=f"a batch has at most {self._most_lines} lines"))
                break
        else:
            await self._find_twins(blobs, key)
        if not self._total and not self._errors:
            self._wrong(LineError(code="empty_file", message="the input has no lines"))
        model, version = self._named or (None, None)
        return Validated(self._total, self._errors, self._line_errors, model, version)

    def _look_at(self, lines: Sequence[RawLine]) -> None:
        for line in lines:
            if line.is_blank:
                continue
            self._total += 1
            told = read_request(line, self._url, self._endpoint)
            if isinstance(told, LineError):
                self._wrong(told)
                continue
            self._hashes.append(_hash(told.custom_id, self._hash_key))
            self._numbers.append(line.number)
            self._hold_version(line, told)

    def _hold_version(self, line: RawLine, told: LineRequest) -> None:
        if told.model is None:
            return
        named = (told.model, told.version)
        if self._named is None:
            self._named = named
        elif named != self._named:
            message = "all lines of a batch name the same model and version"
            self._wrong(LineError(code="mismatched_model", message=message, line=line.number, param="body.model"))

    async def _find_twins(self, blobs: Blobs, key: str) -> None:
        """Lines that are to be told of are read again: hashes of different ids may be the same. The others are counted
        by their hashes."""
        firsts, repeats = await asyncio.to_thread(twins, np.frombuffer(self._hashes, dtype=np.uint64))
        told_of = MOST_LINE_ERRORS - len(self._errors)
        self._line_errors += len(repeats[told_of:])
        doubtful = {self._numbers[place] for place in (*firsts[:told_of], *repeats[:told_of])}
        if not doubtful:
            return
        last, seen = max(doubtful), dict[str, int]()
        async for line in read_lines(blobs, key):
            if line.number in doubtful:
                self._look_at_twin(line, seen)
            if line.number >= last:
                return

    def _look_at_twin(self, line: RawLine, seen: dict[str, int]) -> None:
        told = read_request(line, self._url, self._endpoint)
        if isinstance(told, LineRequest) and (first := seen.setdefault(told.custom_id, line.number)) != line.number:
            message = f"custom_id {told.custom_id[:100]!r} is that of line {first}"
            self._wrong(LineError(code="duplicate_custom_id", message=message, line=line.number, param="custom_id"))

    def _wrong(self, error: LineError) -> None:
        self._line_errors += 1
        if len(self._errors) < MOST_LINE_ERRORS:
            self._errors.append(error)


def twins(hashes: Array) -> tuple[Array, Array]:
    """Places of hashes that stand further in front as well, in order, and with each the place of the first such."""
    if not len(hashes):
        return hashes.astype(np.int64), hashes.astype(np.int64)
    order = np.argsort(hashes, kind="stable")
    is_new = np.ones(len(hashes), dtype=bool)
    is_new[1:] = hashes[order][1:] != hashes[order][:-1]
    firsts = order[is_new][np.cumsum(is_new) - 1]
    repeats = order[~is_new]
    in_order = np.argsort(repeats, kind="stable")
    return firsts[~is_new][in_order], repeats[in_order]


def _hash(text: str, key: bytes) -> int:
    """Nobody can know which ids have the same."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest())


async def in_chunks(
    lines: AsyncIterator[RawLine], most: int, most_bytes: int = 8_000_000
) -> AsyncIterator[list[RawLine]]:
    chunk: list[RawLine] = []
    size = 0
    async for line in lines:
        chunk.append(line)
        size += line.end - line.offset
        if len(chunk) >= most or size >= most_bytes:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
