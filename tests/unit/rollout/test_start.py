"""What a controller of rollouts waits for before it judges."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import MagicMock

import pytest
from pydantic import SecretStr

from tests.waiting import eventually
from workers.rollout import main
from workers.rollout.main import RolloutRole
from workers.rollout.settings import RolloutSettings


class Topic:
    """A control topic of which nothing comes; the test says when all of it has been read."""

    def __init__(self) -> None:
        self.caught_up = asyncio.Event()

    async def follow(self) -> None:
        await asyncio.Event().wait()


class Idle(AsyncExitStack):
    """Any part that is there and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()
        self.windows = self.now = MagicMock()
        self.trouble = None

    async def run(self) -> None:
        await asyncio.Event().wait()


async def _done(*_: object, **__: object) -> None:
    pass


@pytest.mark.parametrize("late", ["routes", "holds"])
async def test_nothing_is_judged_before_routes_and_holds_are_known(monkeypatch: pytest.MonkeyPatch, late: str) -> None:
    topics = {"routes": Topic(), "holds": Topic()}
    judging: list[Any] = []

    def controller(*parts: Any) -> Idle:
        judging.append(parts)
        return Idle()

    monkeypatch.setattr(main, "routes_topic", lambda *_: topics["routes"])
    monkeypatch.setattr(main, "holds_topic", lambda *_: topics["holds"])
    for name in ("require_migrated", "ensure_topics"):
        monkeypatch.setattr(main, name, _done)
    parts = ["Keeper", "KafkaPublisher", "ServingWorkers", "SpanWriter"]
    for name in parts + [name for name in vars(main) if name.startswith("Postgres")]:
        monkeypatch.setattr(main, name, Idle)
    monkeypatch.setattr(main, "Controller", controller)
    role = RolloutRole(RolloutSettings(postgres_dsn=SecretStr("postgresql://nowhere"), kafka_bootstrap_servers="x:1"))
    stop = asyncio.Event()
    running = asyncio.create_task(role.run(stop))
    try:
        (early,) = topics.keys() - {late}
        topics[early].caught_up.set()
        await eventually(lambda: topics[late].caught_up._waiters)
        assert (judging, role.checks[late]()) == ([], f"the {late} are being read")
        topics[late].caught_up.set()
        await eventually(lambda: judging)
    finally:
        stop.set()
        await running
