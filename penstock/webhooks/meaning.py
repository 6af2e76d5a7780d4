"""Which deliveries are meant, as options."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import click

from penstock.parameters import TEXT, Command, with_options
from penstock.times import Moment
from penstock.webhooks.asking import ENDPOINT_ID, text_of
from schemas.webhooks import DeliveryState

_MEANT: Final = (
    click.option("--endpoint", type=ENDPOINT_ID, help="For this endpoint."),
    click.option("--state", type=click.Choice([*map(str, DeliveryState)]), help="In this state."),
    click.option("--type", "type_", type=TEXT, metavar="TYPE", help="Of this type: job.failed."),
    click.option("--job", type=TEXT, metavar="ID", help="About this job, or whatever else the event is of."),
    click.option(
        "--since", "created_after", type=Moment(), help="Of then or later: 30m, 2h, 7d (ago) or 2030-01-31T12:00:00Z."
    ),
    click.option("--until", "created_before", type=Moment(), help="Of before."),
)


def means_deliveries(command: Command) -> Command:
    """A command that gets which deliveries are meant."""
    return with_options(command, _MEANT)


def filter_of(given: Mapping[str, Any]) -> dict[str, str]:
    """As the gateway has it, of what is given."""
    return {
        name.rstrip("_"): text_of(value) if isinstance(value, datetime) else str(value)
        for name, value in given.items()
        if value is not None
    }
