"""The group `penstock models`."""

import click

from penstock.lazy import LazyGroup, Place

SERVED, FILES = "What is served", "Files of models"
COMMANDS = {
    "list": Place("penstock.models.served", "list_models", "bulk", "List model versions and their state.", SERVED),
    "load": Place("penstock.models.served", "load", "bulk", "Have a version loaded, or tried again.", SERVED),
    "unload": Place("penstock.models.served", "unload", "bulk", "Take a version out of service.", SERVED),
    "check": Place("penstock.models.check", "check", "worker", "Try whether a worker could serve models.", FILES),
    "pin": Place("penstock.models.pin", "pin", "worker", "Write the sha256 of files into model.yaml.", FILES),
}


@click.group(cls=LazyGroup, places=COMMANDS)
def models() -> None:
    """List, load and unload model versions, and see to their files."""
