"""The group `penstock rollout`."""

import click

from penstock.lazy import LazyGroup, Place

READ, CHANGE = "See rollouts", "Change rollouts"
_CHANGING, _READING = "penstock.rollouts.changing", "penstock.rollouts.reading"
COMMANDS = {
    "start": Place("penstock.rollouts.starting", "start", "bulk", "Give a version a growing share.", CHANGE),
    "pause": Place(_CHANGING, "pause", "bulk", "Keep the share as it is; judge nothing.", CHANGE),
    "resume": Place(_CHANGING, "resume", "bulk", "Go on, with the step's time anew.", CHANGE),
    "abort": Place(_CHANGING, "abort", "bulk", "Take the whole share away at once.", CHANGE),
    "promote": Place(_CHANGING, "promote", "bulk", "Give the version everything at once.", CHANGE),
    "retry": Place(_CHANGING, "retry", "bulk", "Begin anew after a rollback or an abort.", CHANGE),
    "show": Place(_READING, "show", "bulk", "Show a rollout and what happened to it.", READ),
    "list": Place(_READING, "list_rollouts", "bulk", "List rollouts.", READ),
    "wait": Place(_READING, "wait", "bulk", "Wait until one has ended, for scripts.", READ),
    "explain": Place("penstock.rollouts.explaining", "explain", "bulk", "Make its verdict again, in numbers.", READ),
}


@click.group(cls=LazyGroup, places=COMMANDS)
def rollout() -> None:
    """Give a version more and more of a model's traffic, as long as it does well.

    A rollout goes from step to step by itself, and back by itself where its version does worse than the one before.
    It is named by its id, or by its model: then the one that is open is meant, else the newest.
    """
