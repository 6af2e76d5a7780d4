"""A job's events, as a server tells them. Pure."""

from collections.abc import Iterator

import msgspec

from penstock.client.jobs import Event, Job

_jobs = msgspec.json.Decoder(Job)


class EventReader:
    """Lines of an event stream in, events out (the WHATWG's form of them)."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        self._data: list[str] = []

    def feed(self, line: str) -> Iterator[Event]:
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif line.startswith("id:"):
            self.last_id = line[3:].strip()
        elif not line and self._data:
            text, self._data = "\n".join(self._data), []
            yield Event(self.last_id or "", _jobs.decode(text))
