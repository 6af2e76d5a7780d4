"""The group `penstock route`."""

import click

from penstock.lazy import LazyGroup, Place

READ, CHANGE = "See routes", "Change routes"
COMMANDS = {
    "show": Place("penstock.routes.reading", "show", "bulk", "Show a model's route, and who has it.", READ),
    "list": Place("penstock.routes.reading", "list_routes", "bulk", "List all routes.", READ),
    "history": Place("penstock.routes.reading", "history", "bulk", "List the revisions of a route.", READ),
    "shadow": Place("penstock.routes.shadowing", "shadow", "bulk", "Show how shadows of a model answer.", READ),
    "set": Place("penstock.routes.setting", "set_route", "bulk", "Split a model's jobs among versions.", CHANGE),
    "switch": Place("penstock.routes.switching", "switch", "bulk", "Move all jobs, once workers are warm.", CHANGE),
    "rollback": Place("penstock.routes.setting", "rollback", "bulk", "Go back to an earlier revision.", CHANGE),
    "delete": Place("penstock.routes.setting", "delete", "bulk", "Leave the version to the catalog again.", CHANGE),
}


@click.group(cls=LazyGroup, places=COMMANDS)
def route() -> None:
    """Split a model's jobs among its versions, and go back.

    Each change is a revision; every gateway and router goes by it within a second.
    """
