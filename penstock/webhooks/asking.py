"""Webhook endpoints and deliveries, asked of a gateway; what the commands say them by."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import click

from penstock.asking import read
from penstock.documents import Document, WebhookEndpoint
from penstock.gateway_client import GatewayClient
from penstock.parameters import Command, Name
from schemas.webhooks import EventType
from stores.webhooks import MOST_COUNTED

ENDPOINTS: Final = "/v1/webhook_endpoints"
DELIVERIES: Final = "/v1/webhook_deliveries"
# What becomes a part of a URL; whether there is such a one, the gateway says.
_ENDPOINT_ID: Final = re.compile(r"we_[0-9a-z]{1,64}")
_DELIVERY_ID: Final = re.compile(r"msg_[0-9a-z]{1,64}")


def _fits(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


ENDPOINT_ID: Final = Name("endpoint", _fits(_ENDPOINT_ID), "is no endpoint's id: we_...")
DELIVERY_ID: Final = Name("delivery", _fits(_DELIVERY_ID), "is no delivery's id: msg_...")
ENDPOINT: Final = click.argument("endpoint", type=ENDPOINT_ID)
EVENT: Final = click.Choice([*map(str, EventType)])


def events_option(told: str, default: str = "") -> Callable[[Command], Command]:
    """Which types of events are meant."""
    told = f"{told}{', '.join(EventType)}.{default}"
    return click.option("--event", "event_types", type=EVENT, multiple=True, metavar="TYPE", help=told)


async def endpoint_of(gateway: GatewayClient, endpoint_id: str) -> Document:
    """Raises `PenstockError`."""
    return await read(gateway, f"{ENDPOINTS}/{endpoint_id}", WebhookEndpoint)


def events(number: int) -> str:
    """`1 event`, `7 events`, `10000 events or more`."""
    if number >= MOST_COUNTED:
        return f"{MOST_COUNTED} events or more"
    return f"{number} event" if number == 1 else f"{number} events"


def text_of(moment: datetime) -> str:
    """As a query and a body have it."""
    return moment.isoformat().replace("+00:00", "Z")


def given_only(given: dict[str, Any]) -> Document:
    return {name: value for name, value in given.items() if value is not None}
