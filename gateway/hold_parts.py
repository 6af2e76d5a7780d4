"""The parts of the gateway that know holds: what it follows, changes, and looks after."""

from typing import Self

from gateway.hold_care import HoldCare
from gateway.hold_control import HoldControl
from gateway.serving import Serving
from gateway.settings import GatewaySettings
from producers.hold_telling import HoldTeller
from producers.holds import Holds, holds_topic
from producers.protocols import Publisher
from runtime.clock import now_utc
from runtime.lifecycle import BackgroundTasks
from stores.postgres.holds import PostgresHolds
from stores.protocols import Signals
from stores.routes import TELL_WITHIN_S


class HoldParts:
    """Use as `async with`; raises what Postgres does when it is opened.

    `topic` is to be followed from the start, into `followed`; the rest once all is open, by `start`.
    """

    def __init__(
        self, settings: GatewaySettings, publisher: Publisher, serving: Serving, followed: Holds, signals: Signals
    ) -> None:
        self.topic = holds_topic(settings, followed)
        self._store = PostgresHolds(settings.postgres_dsn.get_secret_value(), role="gateway")
        teller = HoldTeller(self._store, publisher, settings.topics, TELL_WITHIN_S)
        self._care = HoldCare(self._store, self._store, teller, followed, self.topic.caught_up, signals, now_utc)
        self.control = HoldControl(self._store, self._store, teller, serving, now_utc, self._care.changed)

    async def __aenter__(self) -> Self:
        await self._store.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._store.__aexit__()

    def start(self, tasks: BackgroundTasks) -> None:
        tasks.start(self._care.run(), "holds")
