"""A private copy of a version's pinned files, so that what was hashed is what is loaded.

Whoever can write to the model repository can change a file after it was checked and before it is used. So a pinned file
is read once: into a directory that only this user can enter, hashed on the way, and loaded from there. The copy holds
the pinned files and nothing else: what a handler imports or opens beside itself, and what an ONNX graph keeps in other
files, has to be pinned as well.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from schemas.errors import ConfigurationError
from schemas.tensors import Array
from workers.inference.backends.protocol import Backend
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.pin import Pin
from workers.inference.models.platforms import PLATFORMS

PREFIX: Final = "penstock-model-"
BLOCK_BYTES: Final = 1024 * 1024


class VerifiedCopy:
    """Made by entering it, which blocks; gone when it is left, or when the next is made after this process was killed.

    Entering raises `ConfigurationError` naming every file that is not as it was pinned.
    """

    def __init__(self, version: ModelVersion) -> None:
        self._version = version
        self._directory = Path()
        self._lock = -1

    def __enter__(self) -> Self:
        remove_abandoned()
        self._directory, self._lock = _make_locked_directory()
        with ExitStack() as undo:
            undo.callback(self.__exit__)
            mistakes = [mistake for pin in self._version.pins if (mistake := self._copy(pin)) is not None]
            if mistakes:
                raise ConfigurationError("; ".join(mistakes))
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        os.close(self._lock)

    @property
    def version(self) -> ModelVersion:
        """The version with the copy in place of its file, if that is pinned. Code is never loaded from elsewhere."""
        version = self._version
        copies = {pin.file: self._directory / pin.name for pin in version.pins}
        platform = PLATFORMS[version.platform]
        file = self._directory / platform.filename if platform.runs_code else copies.get(version.file, version.file)
        return replace(version, file=file)

    def told(self, message: str) -> str:
        """The message with the repository's paths in place of the copy's."""
        return message.replace(str(self._directory), str(self._version.directory))

    def _copy(self, pin: Pin) -> str | None:
        target = self._directory / pin.name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with pin.file.open("rb") as source, target.open("xb") as copy:
                return pin.mistake(_copy_and_hash(source, copy))
        except OSError as error:
            return f"{pin.file}: cannot be copied to {self._directory}: {error.strerror}"


class VerifiedBackend:
    """Keeps a copy in place as long as `inner`, which was loaded from it."""

    def __init__(self, inner: Backend, copy: ExitStack) -> None:
        self._inner = inner
        self._copy = copy

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        return self._inner.run(inputs, parameters)

    def close(self) -> None:
        self._inner.close()
        self._copy.close()


def _copy_and_hash(source: BinaryIO, copy: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := source.read(BLOCK_BYTES):
        digest.update(block)
        copy.write(block)
    return digest.hexdigest()


def _make_locked_directory() -> tuple[Path, int]:
    """A directory that only this user can enter, and the lock that says it is in use: a killed process holds none."""
    try:
        unlocked = Path(tempfile.mkdtemp(prefix="penstock-new-"))
    except OSError as error:
        raise ConfigurationError(f"no private copy of the model can be made: {error}") from error
    lock = os.open(unlocked, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Only under this name may others take it for abandoned, and by then it is locked.
    return unlocked.rename(unlocked.with_name(unlocked.name.replace("penstock-new-", PREFIX))), lock


def remove_abandoned() -> None:
    """Remove the copies whose process was killed: nobody holds their lock."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or somebody else removes it just now
            lock = os.open(directory, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory)
            finally:
                os.close(lock)
