"""The catalog as its topic tells it, kept up to date. Nobody ever waits for it."""

import time
from collections.abc import Callable, Iterator

import msgspec

from producers.control_topic import ControlTopic
from producers.left_lately import LeftLately
from producers.protocols import Publisher
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.catalog import decode_entry, parse_key, version_key
from schemas.records import OutRecord
from schemas.signature import Signature
from schemas.topics import Topics
from schemas.versions import CatalogSnapshot

log = get_logger(__name__)


class Catalog:
    """Holds the newest snapshot. A record that is no catalog entry keeps what was there before.

    Until anything is `told`, nobody can know which models there are. Of a version that left while we followed, it is
    still known what its jobs look like, `signature`, and for a while that it was there: `left`.
    """

    def __init__(self, snapshot: CatalogSnapshot | None = None, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.snapshot = snapshot or CatalogSnapshot()
        self.told = snapshot is not None
        self._left: dict[tuple[str, str], Signature] = {}
        self.lately = LeftLately(clock_s, self._there)

    def signature(self, model: str, version: str) -> Signature | None:
        entry = self.snapshot.get(model, version)
        return self._left.get((model, version)) if entry is None else entry.signature

    def left(self) -> list[tuple[str, str]]:
        """Versions that were there within the last `LEFT_FOR_S` seconds, and are not now."""
        return [version for version in self.lately.names() if self.snapshot.get(*version) is None]

    def _there(self) -> Iterator[tuple[str, str]]:
        return ((model, version) for model, versions in self.snapshot.models.items() for version in versions)

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the catalog topic; None for a value takes the entry back."""
        self.told = True
        if value is None:
            model, version = parse_key(key)
            if (entry := self.snapshot.get(model, version)) is not None:
                self._left[model, version] = entry.signature
                self.lately.leave([(model, version)])
            self.snapshot = self.snapshot.without(model, version)
            return
        try:
            entry = decode_entry(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("a catalog record is no entry", key=key.decode("utf-8", "replace"), error=str(error))
            return
        self.snapshot = self.snapshot.with_entry(entry)


def catalog_topic(settings: KafkaSettings, catalog: Catalog) -> ControlTopic:
    """The reader that feeds `catalog`: `await reader.follow()`."""
    return ControlTopic(settings, settings.topics.catalog, catalog.apply, reading=catalog.lately)


async def take_back(publisher: Publisher, topics: Topics, model: str, version: str) -> None:
    """Take a version out of the catalog. Raises what `Publisher.publish` raises."""
    await publisher.publish(OutRecord(topics.catalog, version_key(model, version), None, [], partition=0))
