"""A file of a model version that model.yaml holds to its SHA-256."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from schemas.errors import ConfigurationError

SHOWN_DIGITS: Final = 12  # of a digest, to tell two apart


class Pin(NamedTuple):
    """`name` is the file's path in the version's directory, as model.yaml writes it; `sha256` is in hexadecimal."""

    name: str
    file: Path
    sha256: str

    def mistake(self, found: str) -> str | None:
        """What to tell whoever pinned the file, where its digest is `found`; None if that is the pinned one."""
        if found == self.sha256:
            return None
        return (
            f"{self.file}: is not the file that model.yaml pins: sha256 {self.name!r} is "
            f"{self.sha256[:SHOWN_DIGITS]}..., and the file's {found[:SHOWN_DIGITS]}... "
            "(once you know why it changed, `penstock models pin` writes the new value)"
        )


def digest_of(path: Path) -> str:
    """The SHA-256 of a file as pins have it. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hold_to_pins(path: Path, data: bytes, pins: Iterable[Pin]) -> None:
    """Raise `ConfigurationError` if `data`, which was read from `path`, is not what a pin of that file says."""
    for pin in pins:
        if pin.file == path and (mistake := pin.mistake(hashlib.sha256(data).hexdigest())) is not None:
            raise ConfigurationError(mistake)
