"""Where rows come from, as chunks of columns: NPY and NPZ, CSV, Parquet, Arrow, JSONL, a folder of images, or any
iterable of rows.

A source gives the same chunks each time it is read: a run that is resumed depends on that. `pyarrow` is imported where
a file of it is read, and nowhere else.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple
from zipfile import BadZipFile

import msgspec
import numpy as np

from schemas.errors import InvalidInput
from schemas.malformed import UTF8_BOM
from schemas.tensors import Array

# The name of a column that has none: of an array alone, and of rows that are a value each.
UNNAMED: Final = ""
# The name of a column that holds ids of rows, and is no input: no model has such a one.
IDS: Final = "\0ids"
# Of a file of a folder; an image has some megabytes.
MOST_FILE_BYTES: Final = 64 * 1024 * 1024

Columns = Mapping[str, Array]


class CsvText(str):
    """A cell of a CSV file: what it stands for, the model's input says."""

    __slots__ = ()


class Chunk(NamedTuple):
    """Rows from number `start` (from 0) on: arrays of shape [rows, ...], by column. `ids` are their names, if they have
    some."""

    start: int
    columns: Columns
    ids: Sequence[str] = ()

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0


# Gives the columns of so many rows at a time, but for the last.
Source = Callable[[int], Iterator[Columns]]


def source_of(path: Path) -> Source:
    """By the ending of the file's name. Raises `InvalidInput` for one that none of these is."""
    if path.is_dir():
        return lambda rows: _told(path, _images(path, rows))
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInput(f"{path.name}: rows are read from {', '.join(sorted(_READERS))}", param="source")
    return lambda rows: _told(path, reader(path, rows))


def _told(path: Path, found: Iterator[Columns]) -> Iterator[Columns]:
    """What readers raise for files that are torn, or are others than their names say, as an error of ours."""
    try:
        yield from found
    except (ValueError, EOFError, OSError, BadZipFile) as error:  # those of Arrow and NumPy are such
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InvalidInput(f"{path.name} cannot be read: {why}", param="source") from error


def rows_of(values: Iterable[Any]) -> Source:
    """An iterable of rows: objects with a value a column, or one value each. It is read once."""
    return lambda rows: _of_values(iter(values), rows)


def chunks(source: Source, rows: int) -> Iterator[Chunk]:
    """Raises `InvalidInput` for a file that cannot be read."""
    start = 0
    for columns in source(rows):
        ids = columns.get(IDS, ())
        chunk = Chunk(start, {name: array for name, array in columns.items() if name != IDS}, list(ids))
        if len({len(array) for array in columns.values()}) > 1:
            raise InvalidInput("the columns differ in length", param="source")
        if chunk.rows:
            yield chunk
        start += chunk.rows


def files_of(folder: Path) -> list[Path]:
    """The files below a folder by their names, but for hidden ones and links, which may lead anywhere."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(shown)


def stamp_of(source: Path) -> tuple[int, int]:
    """What changes where a source does: bytes, and the time in nanoseconds. Raises `OSError`."""
    stats = [path.stat() for path in (files_of(source) if source.is_dir() else [source])]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def _images(folder: Path, rows: int) -> Iterator[Columns]:
    files = files_of(folder)
    for start in range(0, len(files), rows):
        some = files[start : start + rows]
        data = np.empty(len(some), dtype=object)
        data[:] = [_read(path) for path in some]
        yield {UNNAMED: data, IDS: np.array([path.relative_to(folder).as_posix() for path in some], dtype=object)}


def _read(path: Path) -> bytes:
    """Empty where it cannot be read, or is no image by its size alone: then its row has an error."""
    try:
        return path.read_bytes() if path.stat().st_size <= MOST_FILE_BYTES else b""
    except OSError:
        return b""


def _npy(path: Path, rows: int) -> Iterator[Columns]:
    yield from _of_arrays({UNNAMED: np.load(path, mmap_mode="r", allow_pickle=False)}, rows)


def _npz(path: Path, rows: int) -> Iterator[Columns]:
    with np.load(path, allow_pickle=False) as archive:
        yield from _of_arrays({name: archive[name] for name in archive.files}, rows)


def _of_arrays(arrays: Columns, rows: int) -> Iterator[Columns]:
    if any(array.ndim == 0 for array in arrays.values()):
        raise InvalidInput("an array without rows", param="source")
    total = max((len(array) for array in arrays.values()), default=0)
    for start in range(0, total, rows):
        yield {name: np.asarray(array[start : start + rows]) for name, array in arrays.items()}


def _csv(path: Path, rows: int) -> Iterator[Columns]:
    import pyarrow  # noqa: PLC0415
    import pyarrow.csv  # noqa: PLC0415

    # All as text: what the first lines hold says nothing of a cell further down.
    with path.open("rb") as file:
        names = pyarrow.csv.open_csv(file).schema.names
    texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string()), strings_can_be_null=False)
    with pyarrow.csv.open_csv(path, convert_options=texts) as reader:
        for columns in _of_batches(iter(reader), rows):
            yield {name: _array([CsvText(value) for value in column]) for name, column in columns.items()}


def _parquet(path: Path, rows: int) -> Iterator[Columns]:
    import pyarrow.parquet  # noqa: PLC0415

    with pyarrow.parquet.ParquetFile(path) as file:
        yield from _of_batches(file.iter_batches(batch_size=rows), rows)


def _arrow(path: Path, rows: int) -> Iterator[Columns]:
    import pyarrow.ipc  # noqa: PLC0415

    with pyarrow.memory_map(str(path)) as mapped:
        try:
            reader = pyarrow.ipc.open_file(mapped)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        except pyarrow.ArrowInvalid:
            mapped.seek(0)
            batches = iter(pyarrow.ipc.open_stream(mapped))
        yield from _of_batches(batches, rows)


def _of_batches(batches: Iterator[Any], rows: int) -> Iterator[Columns]:
    """Record batches of any sizes as columns of so many rows each."""
    import pyarrow  # noqa: PLC0415

    held: list[Any] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        while count >= rows:
            table = pyarrow.Table.from_batches(held)
            yield _of_table(table.slice(0, rows))
            held = table.slice(rows).to_batches()
            count -= rows
    if count:
        yield _of_table(pyarrow.Table.from_batches(held))


def _of_table(table: Any) -> Columns:
    return {name: _of_column(table.column(name)) for name in table.column_names}


def _of_column(column: Any) -> Array:
    values: Array = column.to_numpy()
    if values.dtype != object or not len(values):
        return values
    first = next((value for value in values if value is not None), None)
    if isinstance(first, np.ndarray):  # a list a row
        return _stacked(list(values))
    return values


def _stacked(rows: list[Any]) -> Array:
    """Rows of one shape as one array; of several, an array of them."""
    shapes = {np.shape(row) for row in rows}
    if len(shapes) == 1:
        return np.stack([np.asarray(row) for row in rows])
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def _jsonl(path: Path, rows: int) -> Iterator[Columns]:
    with path.open("rb") as lines:
        yield from _of_values(_decoded(lines), rows)


def _decoded(lines: Iterable[bytes]) -> Iterator[Any]:
    """What is no JSON is a row without values, which fails alone."""
    for number, line in enumerate(lines):
        text = line.removeprefix(UTF8_BOM) if number == 0 else line
        if not text.strip():
            continue
        try:
            yield msgspec.json.decode(text)
        except (ValueError, RecursionError):
            yield None


def _of_values(values: Iterator[Any], rows: int) -> Iterator[Columns]:
    while taken := list(islice(values, rows)):
        objects = [value for value in taken if isinstance(value, Mapping)]
        if objects and all(value is None or isinstance(value, Mapping) for value in taken):
            names = dict.fromkeys(name for value in objects for name in value)
            yield {name: _array([(value or {}).get(name) for value in taken]) for name in names}
        else:
            yield {UNNAMED: _array(taken)}


def _array(values: list[Any]) -> Array:
    """Numbers, flat or nested, as numbers; all else as objects, one a row."""
    try:
        array = np.array(values)
        if array.dtype.kind in "biuf":
            return array
    except (ValueError, OverflowError):
        pass  # ragged, or mixed
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


_READERS: Final[Mapping[str, Callable[[Path, int], Iterator[Columns]]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
    ".jsonl": _jsonl,
}
