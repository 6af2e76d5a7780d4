"""The services of a measurement: as durable as in production, and gone afterwards."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from penstock.embedded.stack import EmbeddedStack

NO_PROPERTIES: Mapping[str, str] = {}


@asynccontextmanager
async def services(kafka_properties: Mapping[str, str] = NO_PROPERTIES) -> AsyncIterator[EmbeddedStack]:
    """An embedded stack over a directory of its own: a throw-away stack would not wait for the disk."""
    with data_folder() as folder:
        async with EmbeddedStack(folder, kafka_properties=kafka_properties) as stack:
            yield stack


@contextmanager
def data_folder() -> Iterator[Path]:
    """Where a stack may keep its data as long as it is measured."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-benchmark-"))
    folder.chmod(0o711)  # the database may run as another user
    try:
        yield folder / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
