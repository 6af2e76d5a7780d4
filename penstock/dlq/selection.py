"""Which dead letters are meant. Pure."""

from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase

import msgspec

from penstock.dlq.letter import Letter, Place
from penstock.dlq.mark import Mark


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """All that is given must hold. `topic` is of the letter or of the record's origin, with * for any text.

    `handled` lets in what was replayed or dropped before; letters named by `places` are let in anyhow.
    """

    places: frozenset[Place] = frozenset()
    topic: str | None = None
    model: str | None = None
    version: str | None = None
    error: str | None = None
    job_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    handled: bool = False

    def has(self, letter: Letter, marks: Mapping[Place, Mark]) -> bool:
        if self.places and letter.place not in self.places:
            return False
        if not (self.handled or self.places) and letter.place in marks:
            return False
        return (
            self._has_topic(letter)
            and self.model in (None, letter.model)
            and self.version in (None, letter.version)
            and self.job_id in (None, letter.job_id)
            and (self.error is None or self.error.lower() in f"{letter.code}: {letter.message}".lower())
            and (self.since is None or self.since <= letter.at)
            and (self.until is None or letter.at < self.until)
        )

    def _has_topic(self, letter: Letter) -> bool:
        if self.topic is None:
            return True
        topics = [letter.place.topic, *([letter.origin.topic] if letter.origin else [])]
        return any(fnmatchcase(topic, self.topic) for topic in topics)
