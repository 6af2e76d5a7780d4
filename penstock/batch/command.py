"""The group `penstock batch`."""

import click

from penstock.lazy import LazyGroup, Place

HERE, LATER, KAFKA = "Over HTTP", "What becomes of them", "Straight over Kafka"
_RUNNING = "penstock.batch.running"
_READING = "penstock.batch.reading"
COMMANDS = {
    "submit": Place("penstock.batch.submitting", "submit", "bulk", "Upload a file and have it run.", HERE),
    "status": Place(_READING, "status", "bulk", "Show how far batches are.", LATER),
    "results": Place("penstock.batch.downloading", "results", "bulk", "Download what a batch gave.", LATER),
    "cancel": Place(_READING, "cancel", "bulk", "Cancel batches.", LATER),
    "run": Place(_RUNNING, "run", "bulk", "Run the rows of a file, and write their answers.", KAFKA),
    "resume": Place(_RUNNING, "resume", "bulk", "Go on with such a run that was interrupted.", KAFKA),
    "list": Place(_READING, "list_batches", "bulk", "List batches, the newest first.", LATER),
}


@click.group(cls=LazyGroup, places=COMMANDS)
def batch() -> None:
    """Run files of many requests in bulk.

    Each line of a file is a request of its own, and has its own answer or error. Live jobs go first.
    """
