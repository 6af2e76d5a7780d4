"""The group `penstock batch`."""

import click

from penstock.lazy import LazyGroup, Place

HERE, LATER = "Over HTTP", "What becomes of them"
_READING = "penstock.batch.reading"
COMMANDS = {
    "submit": Place("penstock.batch.submitting", "submit", "bulk", "Upload a file and have it run.", HERE),
    "status": Place(_READING, "status", "bulk", "Show how far batches are.", LATER),
    "results": Place("penstock.batch.downloading", "results", "bulk", "Download what a batch gave.", LATER),
    "cancel": Place(_READING, "cancel", "bulk", "Cancel batches.", LATER),
    "list": Place(_READING, "list_batches", "bulk", "List batches, the newest first.", LATER),
}


@click.group(cls=LazyGroup, places=COMMANDS)
def batch() -> None:
    """Run files of many requests in bulk.

    Each line of a file is a request of its own, and has its own answer or error. Live jobs go first.
    """
