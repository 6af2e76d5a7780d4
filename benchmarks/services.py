"""The services of a measurement: as durable as in production, and gone afterwards."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from penstock.embedded.elsewhere import ALL_SERVICES, Service
from penstock.embedded.kafka import FIRST_COMPILER
from penstock.embedded.stack import EmbeddedStack

NO_PROPERTIES: Mapping[str, str] = {}
# A worker needs no database.
OF_WORKERS: Final = frozenset([Service.KAFKA, Service.VALKEY])


@asynccontextmanager
async def services(
    wanted: frozenset[Service] = ALL_SERVICES,
    kafka_properties: Mapping[str, str] = NO_PROPERTIES,
    *,
    shorten: int = 1,
) -> AsyncIterator[EmbeddedStack]:
    """An embedded stack over a directory of its own: a throw-away stack would not wait for the disk.

    A run that is shortened shows that the measurement works, and no figures: the broker does without its second
    compiler, which would take more processor time than all the rest.
    """
    compilers = FIRST_COMPILER if shorten > 1 else None
    with data_folder() as folder:
        async with EmbeddedStack(
            folder, services=wanted, kafka_properties=kafka_properties, kafka_compilers=compilers
        ) as stack:
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
