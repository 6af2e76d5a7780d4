"""The catalog as its topic tells it, kept up to date. Nobody ever waits for it."""

import time
from collections.abc import Callable
from typing import Final

import msgspec

from producers.control_topic import ControlTopic
from producers.protocols import Publisher
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.catalog import decode_entry, parse_key, version_key
from schemas.records import OutRecord
from schemas.signature import Signature
from schemas.topics import Topics
from schemas.versions import CatalogSnapshot

log = get_logger(__name__)

# A version that is unloaded, loaded again, or whose worker starts again is back by then, or reported by a worker.
LEFT_FOR_S: Final = 180.0


class Catalog:
    """Holds the newest snapshot. A record that is no catalog entry keeps what was there before.

    Until anything is `told`, nobody can know which models there are. Of a version that left while we followed, it is
    still known what its jobs look like, `signature`, and for a while that it was there: `left`.

    The topic also tells what left long ago, whenever it is read from its beginning: `begun` and `ended` say when.
    """

    def __init__(self, snapshot: CatalogSnapshot | None = None, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.snapshot = snapshot or CatalogSnapshot()
        self.told = snapshot is not None
        self._clock_s = clock_s
        self._left: dict[tuple[str, str], Signature] = {}
        self._left_at_s: dict[tuple[str, str], float] = {}
        self._before: CatalogSnapshot | None = None  # what was there when the reading began that goes on

    def begun(self) -> None:
        if self._before is None:  # else the reading before was broken off, and has shown what left long ago
            self._before = self.snapshot

    def ended(self) -> None:
        self._before = None

    def signature(self, model: str, version: str) -> Signature | None:
        entry = self.snapshot.get(model, version)
        return self._left.get((model, version)) if entry is None else entry.signature

    def left(self) -> list[tuple[str, str]]:
        """Versions that were there within the last `LEFT_FOR_S` seconds, and are not now."""
        since_s = self._clock_s() - LEFT_FOR_S
        self._left_at_s = {version: at_s for version, at_s in self._left_at_s.items() if at_s > since_s}
        return [version for version in self._left_at_s if self.snapshot.get(*version) is None]

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the catalog topic; None for a value takes the entry back."""
        self.told = True
        if value is None:
            model, version = parse_key(key)
            if (entry := self.snapshot.get(model, version)) is not None:
                self._left[model, version] = entry.signature
                if self._before is None or self._before.get(model, version) is not None:
                    self._left_at_s[model, version] = self._clock_s()
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
    return ControlTopic(settings, settings.topics.catalog, catalog.apply, reading=catalog)


async def take_back(publisher: Publisher, topics: Topics, model: str, version: str) -> None:
    """Take a version out of the catalog. Raises what `Publisher.publish` raises."""
    await publisher.publish(OutRecord(topics.catalog, version_key(model, version), None, [], partition=0))
