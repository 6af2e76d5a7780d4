"""What of a run's output is written for good, so that it can be resumed after any end."""

import os
from pathlib import Path
from typing import IO, Final, Self

import msgspec

from schemas.errors import Conflict

SUFFIX: Final = ".penstock"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What must be the same for a run to be resumed."""

    run_id: str
    source: str
    size: int
    modified_ns: int
    model: str
    version: str
    block_rows: int


class _Written(msgspec.Struct, frozen=True):
    """Up to the byte `end` of the output stand the lines of all blocks up to this one; so many rows of all `failed`."""

    block: int
    end: int
    failed: int


_plans: Final = msgspec.json.Decoder(Plan)
_written: Final = msgspec.json.Decoder(_Written)


class Journal:
    """The output of a run, and beside it a file that says how far it has come. Use as a context manager.

    `blocks` are written, with so many rows that `failed`.
    """

    def __init__(self, output: Path, plan: Plan) -> None:
        self.plan = plan
        self.blocks = 0
        self.failed = 0
        self._path = output
        self._end = 0  # of the output
        self._log_end = 0
        self._output: IO[bytes]
        self._log: IO[bytes]

    @classmethod
    def begin(cls, output: Path, plan: Plan) -> "Journal":
        """A new run. Raises `Conflict` where the output is there, `OSError`."""
        if output.exists() or beside(output).exists():
            raise Conflict(f"{output} is there: resume that run, or give another name")
        journal = cls(output, plan)
        head = msgspec.json.encode(plan) + b"\n"
        beside(output).write_bytes(head)
        output.touch()
        journal._log_end = len(head)
        return journal

    @classmethod
    def resume(cls, output: Path) -> "Journal":
        """A run that was begun. Raises `Conflict` where there is none."""
        try:
            head, *lines = beside(output).read_bytes().splitlines(keepends=True)
            plan = _plans.decode(head)
        except (OSError, ValueError) as error:
            raise Conflict(f"no run writes {output}: {beside(output)} says nothing of one") from error
        journal = cls(output, plan)
        journal._log_end = len(head)
        size = output.stat().st_size if output.exists() else 0
        for line in lines:
            try:
                each = _written.decode(line)
            except ValueError:
                break  # it was being written
            if not line.endswith(b"\n") or each.block != journal.blocks or each.end > size:
                break
            journal.blocks, journal.failed, journal._end = each.block + 1, each.failed, each.end
            journal._log_end += len(line)
        return journal

    def __enter__(self) -> Self:
        """What was half written is cut off. Raises `OSError`."""
        self._path.touch()
        self._output = _opened(self._path, self._end)
        self._log = _opened(beside(self._path), self._log_end)
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._output, self._log):
            file.flush()
            os.fsync(file.fileno())
            file.close()

    def write(self, text: bytes, failed: int) -> None:
        """The lines of the next block: they are there from now on, or are written again."""
        self._output.write(text)
        self._output.flush()
        os.fsync(self._output.fileno())  # before the journal says that they are there
        self._end += len(text)
        self.failed += failed
        self._log.write(msgspec.json.encode(_Written(self.blocks, self._end, self.failed)) + b"\n")
        self._log.flush()
        self.blocks += 1


def beside(output: Path) -> Path:
    return output.with_name(output.name + SUFFIX)


def _opened(path: Path, end: int) -> IO[bytes]:
    file = path.open("r+b")
    file.truncate(end)
    file.seek(end)
    return file
