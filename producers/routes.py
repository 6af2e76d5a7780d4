"""How models' traffic splits, as its topic tells it, kept up to date. Nobody ever waits for it."""

from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import Counter, Gauge

from producers.control_topic import ControlTopic
from producers.record_reader import RecordReader
from runtime.settings import KafkaSettings
from schemas.errors import RequestError
from schemas.route_documents import decode_route, taken_away_by
from schemas.routes import WHOLE, Route

REVISION: Final = Gauge("penstock_route_revision", "Revision of the model's route that this process goes by", ["model"])
SHARE: Final = Gauge(
    "penstock_route_share_ratio",
    "Share of the model's traffic that its route gives the version, and the version's label: joins what is counted by "
    "version with its variant",
    ["model", "version", "variant"],
)
PASSED_OVER: Final = Counter(
    "penstock_route_passed_over_total",
    "Jobs that got another version than their route gave them, since no worker has announced that",
    ["model", "version"],
)


# Told of each change: the model, and its new route, or None where it was taken away.
Listener = Callable[[str, Route | None], None]


class Routes:
    """The newest route of each model, in `of`. A record that is no route keeps what was there before.

    A revision that is older than the one at hand is passed over, also one that took the route away: after a lost
    connection the topic is read again from its beginning. Of what one fetch gives, nobody sees what is between its
    records.
    """

    def __init__(self) -> None:
        self.of: dict[str, Route] = {}
        self._taken_away: dict[str, int] = {}  # by which revision
        self._records = RecordReader(_route_of, "a record is no route")
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Have `listener` told of every change from now on. It must not raise."""
        self._listeners.append(listener)

    def revision(self, model: str) -> int:
        """The newest revision that was told of the model; 0 where none was. It may have taken the route away."""
        route = self.of.get(model)
        return self._taken_away.get(model, 0) if route is None else route.revision

    def revisions(self) -> dict[str, int]:
        """The revision of each model's route."""
        return {model: route.revision for model, route in self.of.items()}

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the routes topic; None for a value takes the model's route away."""
        if value is None:
            self.take_away(key, ())
            return
        route = self._records.read(key, value)
        if route is None or route.revision <= self.revision(route.model):
            return
        if (known := self.of.get(route.model)) is not None:
            _forget(known)
        self.of[route.model] = route
        _show(route)
        self._tell(route.model, route)

    def take_away(self, key: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        """Take in a record without a value. One that does not tell its revision counts, whatever is at hand."""
        model, revision = key.decode("utf-8", "replace"), taken_away_by(headers)
        if revision is not None:
            if revision <= self.revision(model):
                return
            self._taken_away[model] = revision
        gone = self.of.pop(model, None)
        if gone is not None:
            _forget(gone)
            self._tell(model, None)

    def _tell(self, model: str, route: Route | None) -> None:
        for listener in self._listeners:
            listener(model, route)


def _route_of(key: bytes, value: bytes) -> Route:
    route = decode_route(value)
    if route.model.encode() != key:
        raise RequestError(f"it is the route of {route.model}")
    return route


def _show(route: Route) -> None:
    REVISION.labels(route.model).set(route.revision)
    for version, share in route.in_order:
        SHARE.labels(route.model, version, route.variants.get(version, "")).set(share / WHOLE)


def _forget(route: Route) -> None:
    REVISION.remove(route.model)
    for version in route.versions:
        SHARE.remove(route.model, version, route.variants.get(version, ""))


def count_passed_over(model: str, version: str) -> None:
    """A job's route gave it a version that no worker has announced."""
    PASSED_OVER.labels(model, version).inc()


def routes_topic(settings: KafkaSettings, routes: Routes) -> ControlTopic:
    """The reader that feeds `routes`: `await reader.follow()`."""
    return ControlTopic(settings, settings.topics.routes, routes.apply, take_back=routes.take_away)
