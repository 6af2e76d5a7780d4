"""Looking through an input before any of it runs: each line a request, each custom id once, one version for all."""

import asyncio
import hashlib
from array import array
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from schemas.batches import MOST_LINE_ERRORS, Endpoint, LineError
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
    """Takes 16 bytes of memory a line, however long lines are; some hundred for an id that is there twice."""

    def __init__(self, url: str, endpoint: Endpoint, most_lines: int) -> None:
        self._url = url
        self._endpoint = endpoint
        self._most_lines = most_lines
        self._errors: list[LineError] = []
        self._line_errors = 0
        self._total = 0
        self._hashes = array("Q")
        self._numbers = array("L")
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
            self._hashes.append(_hash(told.custom_id))
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
        """Lines are read again where hashes of two are the same."""
        doubtful = await asyncio.to_thread(self._doubtful)
        if not doubtful.any():
            return
        seen: dict[bytes, int] = {}  # by a hash that no two share: ids may be long, and many
        async for line in read_lines(blobs, key):
            if line.number >= len(doubtful) or not doubtful[line.number]:
                continue
            told = read_request(line, self._url, self._endpoint)
            if not isinstance(told, LineRequest):
                continue
            if (first := seen.setdefault(_digest(told.custom_id, 16), line.number)) != line.number:
                message = f"custom_id {told.custom_id[:100]!r} is that of line {first}"
                self._wrong(LineError(code="duplicate_custom_id", message=message, line=line.number, param="custom_id"))

    def _doubtful(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether the hash of a line's id is that of another's, by the line's number."""
        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        numbers = np.frombuffer(self._numbers, dtype=np.dtype("L"))
        order = np.argsort(hashes, kind="stable")
        same = hashes[order][1:] == hashes[order][:-1]
        found = np.zeros(int(numbers.max(initial=0)) + 1, dtype=bool)
        found[numbers[order[1:][same]]] = True
        found[numbers[order[:-1][same]]] = True
        return found

    def _wrong(self, error: LineError) -> None:
        self._line_errors += 1
        if len(self._errors) < MOST_LINE_ERRORS:
            self._errors.append(error)


def _hash(text: str) -> int:
    return int.from_bytes(_digest(text, 8))


def _digest(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


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
