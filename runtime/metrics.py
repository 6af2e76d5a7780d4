"""Metrics of the process itself, and their exposition. Each part of Penstock registers its own beside its code."""

import asyncio

from prometheus_client import REGISTRY, Gauge, exposition
from prometheus_client.openmetrics import exposition as openmetrics

LOOP_LAG = Gauge("penstock_event_loop_lag_seconds", "How late the event loop ran a timer, last seen")
LOOP_LAG_INTERVAL_S = 0.25


def render(accept: str) -> tuple[bytes, str]:
    """The metrics page and its content type: OpenMetrics where `accept` asks for it, else Prometheus text."""
    if "application/openmetrics-text" in accept:
        page: bytes = openmetrics.generate_latest(REGISTRY)  # type: ignore[no-untyped-call]
        return page, openmetrics.CONTENT_TYPE_LATEST
    return exposition.generate_latest(REGISTRY), exposition.CONTENT_TYPE_LATEST


async def watch_loop_lag() -> None:
    """Measure for ever how late timers fire: what every heartbeat of this process is late by."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOP_LAG_INTERVAL_S
        await asyncio.sleep(LOOP_LAG_INTERVAL_S)
        LOOP_LAG.set(max(0.0, loop.time() - due))
