"""Ids of webhook endpoints and deliveries, as far as they come from clients."""

import os
import re
from datetime import datetime
from typing import Final

from schemas.errors import WebhookDeliveryNotFound, WebhookEndpointNotFound

# What a store can hold and may be asked for; anything else is not found without asking.
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


def new_endpoint_id(now: datetime) -> str:
    """Sorts by the time at which it was created."""
    return f"we_{int(now.timestamp() * 1000):012x}{os.urandom(8).hex()}"


def check_endpoint_id(text: str, param: str = "id") -> str:
    """Raises `WebhookEndpointNotFound` for what is no id."""
    if _ID.fullmatch(text) is None:
        raise no_endpoint(text, param)
    return text


def no_endpoint(text: str, param: str = "id") -> WebhookEndpointNotFound:
    return WebhookEndpointNotFound(f"there is no webhook endpoint {text[:64]!r}", param=param)


def check_delivery_id(text: str, param: str = "id") -> str:
    """Raises `WebhookDeliveryNotFound` for what is no id."""
    if _ID.fullmatch(text) is None:
        raise no_delivery(text, param)
    return text


def no_delivery(text: str, param: str = "id") -> WebhookDeliveryNotFound:
    return WebhookDeliveryNotFound(f"there is no webhook delivery {text[:64]!r}", param=param)
