"""The services of a measurement: as durable as in production, and gone afterwards."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.sharing import is_sharing, shared
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

    In a run that is shortened the broker does without its second compiler, which would take more processor time than
    all the rest; where measurements share, all have the same ones.
    """
    if is_sharing():
        wanted, kafka_properties = ALL_SERVICES, NO_PROPERTIES
    compilers = FIRST_COMPILER if shorten > 1 else None
    async with shared("services", partial(_opened, wanted, kafka_properties, compilers)) as stack:
        yield stack


@asynccontextmanager
async def _opened(
    wanted: frozenset[Service], kafka_properties: Mapping[str, str], compilers: Sequence[str] | None
) -> AsyncIterator[EmbeddedStack]:
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
