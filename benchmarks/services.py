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
    with folder() as data:
        async with EmbeddedStack(data, kafka_properties=kafka_properties) as stack:
            yield stack


@contextmanager
def folder() -> Iterator[Path]:
    """A data directory for a stack, gone when the block ends."""
    made = Path(tempfile.mkdtemp(prefix="penstock-benchmark-"))
    made.chmod(0o711)  # the database may run as another user
    try:
        yield made / "data"
    finally:
        shutil.rmtree(made, ignore_errors=True)
