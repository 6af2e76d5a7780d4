"""The holds that stand, as their topic tells them, kept up to date. Nobody ever waits for it."""

from collections import Counter as Occurrences
from collections.abc import Callable
from typing import Final

from prometheus_client import Gauge

from producers.control_topic import ControlTopic
from producers.record_reader import RecordReader
from runtime.settings import KafkaSettings
from schemas.errors import RequestError
from schemas.hold_documents import decode_hold
from schemas.holds import NO_HOLDS, Action, Hold, HoldSet

ACTIVE: Final = Gauge("penstock_holds", "Holds that this process goes by", ["action"])

# Told whenever a hold was set or released.
Listener = Callable[[], None]


class Holds:
    """The holds that stand, in `now`: each change is a new set. A record that is no hold changes nothing.

    What was released does not come back: after a lost connection the topic is read again from its beginning, and what
    it held once must not be gone by even for a moment. `told` are those that the topic says stand, as it was read last:
    by these, who starts to read it now would go.
    """

    def __init__(self) -> None:
        self.now: HoldSet = NO_HOLDS
        self.told: set[str] = set()
        self.released: set[str] = set()
        self._records = RecordReader(_hold_of, "a record is no hold")
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Have `listener` told of every change from now on. It must not raise."""
        self._listeners.append(listener)

    def begun(self) -> None:
        """The topic is read from its beginning: it may have been made anew."""
        self.told.clear()

    def ended(self) -> None:
        """All of it has been read."""

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the holds topic; None for a value releases the hold."""
        known = dict(self.now.by_id)
        if value is None:
            hold_id = key.decode("utf-8", "replace")
            self.told.discard(hold_id)
            self.released.add(hold_id)
            if known.pop(hold_id, None) is None:
                return
        else:
            hold = self._records.read(key, value)
            if hold is None:
                self.told.discard(key.decode("utf-8", "replace"))
                return
            self.told.add(hold.id)
            if hold.id in self.released or hold.id in known:
                return
            known[hold.id] = hold
        self.now = HoldSet(known.values())
        self._show()
        for listener in self._listeners:
            listener()

    def _show(self) -> None:
        active = Occurrences(hold.action for hold in self.now.by_id.values())
        for action in Action:
            ACTIVE.labels(action).set(active[action])


def _hold_of(key: bytes, value: bytes) -> Hold:
    hold = decode_hold(value)
    if hold.id.encode() != key:
        raise RequestError(f"it is the hold {hold.id}")
    return hold


def holds_topic(settings: KafkaSettings, holds: Holds) -> ControlTopic:
    """The reader that feeds `holds`: `await reader.follow()`."""
    return ControlTopic(settings, settings.topics.holds, holds.apply, reading=holds)
