"""What the routes of files and batches work with, over whichever stores there are."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.batches.contents import FileContents
from gateway.batches.control import BatchControl
from gateway.batches.promising import BatchPromises
from gateway.batches.uploads import Uploads
from gateway.reaching import reaching
from gateway.serving import Serving
from producers.routes import Routes
from schemas.errors import Unavailable
from stores.batches import Batches, Files
from stores.blobs import Blobs
from stores.promises import Promises

NOT_READ: Final = "Files and batches cannot be read at the moment. Try again."
NOTHING_CHANGED: Final = "Files and batches cannot be changed at the moment: nothing was changed. Try again."
PERHAPS_CHANGED: Final = (
    "Files and batches cannot be reached at the moment, and this change is perhaps done: look before you try again."
)
NO_BLOBS: Final = "files and batches need a place for blobs: set PENSTOCK_BLOBS_URL"


def reading() -> AbstractContextManager[None]:
    return reaching("files and batches cannot be read", NOT_READ)


def changing() -> AbstractContextManager[None]:
    return reaching("files and batches cannot be changed", NOTHING_CHANGED, PERHAPS_CHANGED)


@dataclass(frozen=True, kw_only=True)
class Batching:
    control: BatchControl
    contents: FileContents
    uploads: Uploads


class NoBatching:
    """Where there is no blob store: whoever asks for anything is told so."""

    @property
    def found(self) -> Batching:
        raise Unavailable(NO_BLOBS)


class WithBatching:
    def __init__(self, found: Batching) -> None:
        self.found = found


def batching_of(
    files: Files,
    batches: Batches,
    blobs: Blobs,
    promises: Promises,
    serving: Serving,
    routes: Routes,
    now: Callable[[], datetime],
    *,
    most_bytes: int,
    at_once: int,
) -> Batching:
    return Batching(
        control=BatchControl(batches, BatchPromises(promises, files, blobs, now), serving, routes, now),
        contents=FileContents(files, batches, blobs, now),
        uploads=Uploads(files, blobs, now, most_bytes=most_bytes, at_once=at_once),
    )
