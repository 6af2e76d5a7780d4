"""What a look at the model repository finds: the versions in it, and the files that each is made of."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from workers.inference.models.model_version import ModelVersion
from workers.inference.models.platforms import PLATFORMS

# Written by Python when it runs a model's code: no part of the model.
COMPILED: Final = "__pycache__"


class FileMark(NamedTuple):
    """What tells one content of a file from the next without reading it."""

    path: str
    size_bytes: int
    modified_ns: int


Files = frozenset[FileMark]


class Found(NamedTuple):
    """A version as it stands in the repository: the files of its directory, and its tokenizer's, wherever that lies.

    Labels count among neither: they are in the version's signature.
    """

    version: ModelVersion
    files: Files
    tokenizer: Files = frozenset()

    @property
    def size_bytes(self) -> int:
        """Of all its files but those of platforms that it does not run on: what it is reckoned to take in memory."""
        return sum(file.size_bytes for file in weights_of(self.version, self.files) | self.tokenizer)


def is_as_found(found: Found) -> bool:
    """Whether all its files can still be read, and are what they were."""
    return all(mark(Path(file.path)) == {file} and os.access(file.path, os.R_OK) for file in found.files)


class Snapshot(NamedTuple):
    """Versions by name that can be served, what is wrong with others, and the names of all that are there.

    `unlisted` are models whose folder cannot be listed, so that any of their versions may be there.
    """

    found: Mapping[str, Found]
    problems: Mapping[str, str]
    there: frozenset[str]
    unlisted: frozenset[str] = frozenset()

    def is_gone(self, version: ModelVersion) -> bool:
        return version.name not in self.there and version.model not in self.unlisted


def weight_bytes(version: ModelVersion) -> int:
    """How large the weights are, in however many files of the version's directory they lie. Looks at the disk."""
    return sum(file.size_bytes for file in weights_of(version, files_under(version.directory)))


def weights_of(version: ModelVersion, files: Files) -> Files:
    """Of a version's files those that its weights may lie in: a graph may name any file beside it, and a handler may
    open any. The file of another platform is left out, as the version is not run on that one."""
    others: set[str] = set()
    if not PLATFORMS[version.platform].keeps_files:
        others = {platform.filename for platform in PLATFORMS.values()} - {version.file.name}
    tokenizer = str(version.tokenizer_file)
    return frozenset(file for file in files if file.path != tokenizer and _name_in(version, file) not in others)


def _name_in(version: ModelVersion, file: FileMark) -> str:
    return file.path.removeprefix(f"{version.directory}{os.sep}")


def files_under(directory: Path) -> Files:
    """The files in the directory and below; links to files count as what they lead to."""
    return frozenset(_files_under(directory))


def _files_under(directory: Path) -> Iterator[FileMark]:
    for parent, directories, names in os.walk(directory):
        if COMPILED in directories:
            directories.remove(COMPILED)
        for name in names:
            yield from mark(Path(parent, name))


def files_in(directory: Path) -> Files:
    """The files in the directory itself."""
    _, _, names = next(os.walk(directory), ("", (), ()))
    return frozenset().union(*(mark(directory / name) for name in names))


def mark(path: Path) -> Files:
    """The one file, or nothing where it is gone or is a link to nowhere."""
    try:
        status = path.stat()
    except OSError:
        return frozenset()
    return frozenset([FileMark(str(path), status.st_size, status.st_mtime_ns)])
