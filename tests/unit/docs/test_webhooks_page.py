"""The page about webhooks says what the code does."""

import re
from pathlib import Path

import pytest

from penstock.webhooks.command import COMMANDS
from schemas.webhooks import (
    DISABLED_AFTER,
    FAILURES_OPEN,
    FAILURES_TOLD,
    FIRST_PROBE_S,
    FULL_RESULT_BYTES,
    LEASE_MARGIN_S,
    LONGEST_GRACE,
    LONGEST_PROBE_S,
    SCHEDULE_S,
    TEST_EVENT,
    EventType,
    Limits,
    lease_of,
)
from stores.retention import DELIVERIES_KEPT

TEXT = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()
LINE = " ".join(TEXT.split())


def span(seconds: float) -> str:
    for unit, length_s in (("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:g} {unit}"
    return f"{seconds:g} s"


def test_every_type_of_event_is_told() -> None:
    rows = "".join(line for line in TEXT.splitlines() if line.startswith("| `"))
    short = {f".{event.value.rpartition('.')[2]}" for event in EventType if event.value.startswith("webhook_endpoint.")}
    missing = [event for event in (*EventType, TEST_EVENT) if f"`{event}`" not in rows]
    assert {f".{event.rpartition('.')[2]}" for event in missing} <= {each for each in short if f"`{each}`" in rows}


def test_the_schedule_is_that_which_is_kept() -> None:
    *first, last = map(span, SCHEDULE_S[1:])
    assert f"tried again {', '.join(first)} and {last} after" in LINE


@pytest.mark.parametrize(
    "told",
    [
        f"{FAILURES_TOLD} failures in a row",
        f"{FAILURES_OPEN} failures in a row",
        f"after {span(FIRST_PROBE_S)}, then twice as long up to {span(LONGEST_PROBE_S)}",
        f"no success for {DISABLED_AFTER.days} days",
        f"within {Limits().timeout_s:g} seconds",
        f"{Limits().timeout_s:g} seconds in all and {Limits().connect_timeout_s:g} until",
        f"`--concurrency` ({Limits().concurrency})",
        f"`--grace`, up to {LONGEST_GRACE.days} days",
        f"no more than {FULL_RESULT_BYTES // 1000} kB",
        f"by another after {lease_of(Limits()).seconds} s, which is {LEASE_MARGIN_S:g} s more",
        f"kept for {DELIVERIES_KEPT.days} days",
    ],
)
def test_numbers_are_those_of_the_code(told: str) -> None:
    assert told in LINE


def test_commands_that_it_shows_are_there() -> None:
    shown = set(re.findall(r"penstock webhooks ([a-z]+)", TEXT))
    assert shown <= set(COMMANDS)
    assert {"listen", "create", "enable", "rotate", "deliveries", "replay"} <= shown
