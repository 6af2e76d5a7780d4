"""The group `penstock webhooks`."""

import click

from penstock.lazy import LazyGroup, Place

RECEIVE, ENDPOINTS, DELIVERIES = "Receive here", "Endpoints", "Deliveries"
_CHANGING, _SECRETS = "penstock.webhooks.changing", "penstock.webhooks.secrets"
_SWITCHING, _DELIVERIES = "penstock.webhooks.switching", "penstock.webhooks.deliveries"
COMMANDS = {
    "listen": Place(
        "penstock.webhooks.listening", "listen", "bulk", "Show events as they come; forward them.", RECEIVE
    ),
    "endpoints": Place("penstock.webhooks.endpoints", "endpoints", "bulk", "List endpoints, or show one.", ENDPOINTS),
    "create": Place(_CHANGING, "create", "bulk", "Have events sent to a URL, or kept to be pulled.", ENDPOINTS),
    "update": Place(_CHANGING, "update", "bulk", "Change an endpoint.", ENDPOINTS),
    "delete": Place(_CHANGING, "delete", "bulk", "Remove an endpoint and what waits for it.", ENDPOINTS),
    "enable": Place(_SWITCHING, "enable", "bulk", "Send again, and say what becomes of what was held.", ENDPOINTS),
    "disable": Place(_SWITCHING, "disable", "bulk", "Send nothing more; events are held.", ENDPOINTS),
    "test": Place(_SWITCHING, "test", "bulk", "Send one event now, and tell the answer.", ENDPOINTS),
    "rotate": Place(_SECRETS, "rotate", "bulk", "Give an endpoint a new signing secret.", ENDPOINTS),
    "secret": Place(_SECRETS, "secret", "bulk", "Print what signs the webhooks that jobs name.", ENDPOINTS),
    "deliveries": Place(_DELIVERIES, "deliveries", "bulk", "List deliveries, or show one's attempts.", DELIVERIES),
    "replay": Place("penstock.webhooks.replaying", "replay", "bulk", "Deliver again what has ended.", DELIVERIES),
}


@click.group(cls=LazyGroup, places=COMMANDS)
def webhooks() -> None:
    """Have the ends of jobs sent to a URL, signed, or receive them here.

    An endpoint gets the events that it asks for, each at least once and under one id. What an endpoint cannot take is
    held until it can.
    """
