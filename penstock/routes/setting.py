"""`penstock route set`, `rollback` and `delete`."""

from collections.abc import Sequence
from typing import Any, BinaryIO, Final

import click

from penstock.asking import ask
from penstock.documents import Document, Route, RouteRevision
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import MODEL, NOTE, TEXT, VERSION
from penstock.plain import printable
from penstock.routes.asking import (
    IF_REVISION,
    WAIT,
    as_json_object,
    change,
    put_route,
    revision_of,
    route_of,
    show_changed,
    show_way_back,
    wanted,
)
from penstock.routes.parsing import Assigned, labels_of, pins_of, shadows_of, shares_of
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json

NOTHING: Final = "nothing to set: give shares as 1=90 2=10, an option, or --file"


@click.command(
    "set",
    epilog=examples(
        "penstock route set digits 1=90 2=10 --label stable=1 --label canary=2",
        "penstock route set digits --pin tenant:acme=1 --sticky header:x-user",
        "penstock route set digits --shadow 2=0.05",
        "penstock route show digits --json > route.json",
        "penstock route set digits --file route.json",
        reads=GATEWAY_URL,
    ),
)
@click.argument("model", type=MODEL)
@click.argument("shares", nargs=-1, type=Assigned("VERSION=PERCENT"), metavar="[VERSION=PERCENT]...")
@click.option("--default", type=VERSION, help="Gets the jobs whose version is not there.")
@click.option("--label", "labels", multiple=True, type=Assigned("NAME=VERSION"), help="As canary=2; canary= drops it.")
@click.option("--sticky", type=TEXT, help="Where keys are read: sticky_key, header:NAME, metadata:PATH, record_key.")
@click.option("--salt", type=TEXT, help="Another one deals all keys anew.")
@click.option("--pin", "pins", multiple=True, type=Assigned("WHO=VERSION"), help="As tenant:acme=1 or key:bob=2.")
@click.option("--no-pins", is_flag=True, help="Take all pins away.")
@click.option("--shadow", "shadows", multiple=True, type=Assigned("VERSION=SHARE"), help="As 2=0.05: runs copies.")
@click.option("--no-shadow", is_flag=True, help="Copy nothing any more.")
@click.option("--rescue/--no-rescue", default=None, help="What the canary fails runs once on the default version.")
@click.option("--take-back", multiple=True, type=VERSION, help="What waits for it goes to another version.")
@click.option("--file", type=click.File("rb"), help="The whole route as JSON; - for standard input.")
@click.option("--other-inputs", is_flag=True, help="Also where its versions take other inputs.")
@NOTE
@IF_REVISION
@WAIT
@JSON
@asks_gateway
def set_route(
    found: Found,
    model: str,
    file: BinaryIO | None,
    note: str | None,
    if_revision: int | None,
    wait_s: int,
    *,
    other_inputs: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Split MODEL's jobs among its versions.

    Creates the route or changes it: what is not named stays as it is. Shares are percents, 100 together; pins and
    shadows that are given take the place of those there were. Fails if somebody else changes the route meanwhile; of a
    file that `route show --json` wrote, since then.
    """
    edits = given["rescue"] is not None or any(value not in (None, (), False) for value in given.values())
    if file is None and not edits:
        raise click.UsageError(NOTHING)
    if file is not None and edits:
        raise click.UsageError("--file holds the whole route: give it alone, or none")
    whole = None if file is None else as_json_object(file.read(), "--file")
    edit = None if whole is not None else Edit(given)
    if_revision = if_revision or revision_in(whole, model)

    async def changed(gateway: GatewayClient) -> tuple[Document, Document | None]:
        before = await route_of(gateway, model)
        route = wanted(whole or {}) if edit is None else edit.applied_to(before)
        expected = revision_of(before) if if_revision is None else if_revision
        done = await put_route(gateway, model, route, expected, note, wait_s, other_inputs=other_inputs)
        return done, before

    route, before = ask(found, changed)
    show_changed(route, before, wait_s, as_json=as_json)


def revision_in(whole: Document | None, model: str) -> int | None:
    """The revision that a file was made of, if it was taken out of this model's route: nobody is to have changed it
    since."""
    revision = None if whole is None or whole.get("model") != model else whole.get("revision")
    return revision if type(revision) is int and revision > 0 else None


class Edit:
    """What the options of `set` change in a route. Made before anybody is asked: raises `BadParameter`."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._shares = shares_of(given["shares"]) if given["shares"] else None
        self._labels: Sequence[tuple[str, str]] = given["labels"]
        labels_of(self._labels, {})
        self._changes: Document = {
            "default": given["default"],
            "sticky": {"source": given["sticky"]} if given["sticky"] else None,
            "salt": given["salt"],
            "pins": pins_of(given["pins"]) or ([] if given["no_pins"] else None),
            "shadow": shadows_of(given["shadows"]) or ([] if given["no_shadow"] else None),
            "rescue": given["rescue"],
            "taken_back": list(given["take_back"]) or None,
        }

    def applied_to(self, before: Document | None) -> Document:
        """Raises `UsageError` where there is no route yet, and no shares to make one of."""
        if before is None and self._shares is None:
            raise click.UsageError("the model has no route yet: give shares as well, as 1=90 2=10")
        route = {} if before is None else wanted(before)
        if self._shares is not None:
            route["versions"] = self._shares
            if route.get("default") not in self._shares:
                route.pop("default", None)
        changes = {name: value for name, value in self._changes.items() if value is not None}
        if "shadow" in changes:
            changes["shadow"] = [_with_bounds(each, route.get("shadow", ())) for each in changes["shadow"]]
        route |= changes
        return route | {"labels": labels_of(self._labels, route.get("labels", {}))}


def _with_bounds(shadow: Document, before: Sequence[Document]) -> Document:
    """A version that is a shadow already keeps its bounds."""
    return next((each for each in before if each["version"] == shadow["version"]), {}) | shadow


@click.command(epilog=examples("penstock route rollback digits 7", reads=GATEWAY_URL))
@click.argument("model", type=MODEL)
@click.argument("revision", type=click.IntRange(min=1))
@NOTE
@IF_REVISION
@WAIT
@JSON
@asks_gateway
def rollback(
    found: Found,
    model: str,
    revision: int,
    note: str | None,
    if_revision: int | None,
    wait_s: int,
    *,
    as_json: bool,
) -> None:
    """Put what REVISION of MODEL's route said once more, as a new revision.

    Also undoes a deletion. `penstock route history MODEL` lists the revisions.
    """

    async def changed(gateway: GatewayClient) -> tuple[Document, Document | None]:
        before = await route_of(gateway, model)
        path = f"/v1/routes/{model}/rollback"
        return await change(gateway, "POST", path, Route, if_revision, note, wait_s, {"revision": revision}), before

    route, before = ask(found, changed)
    show_changed(route, before, wait_s, as_json=as_json)


@click.command(epilog=examples("penstock route delete digits", reads=GATEWAY_URL))
@click.argument("model", type=MODEL)
@NOTE
@IF_REVISION
@WAIT
@JSON
@asks_gateway
def delete(found: Found, model: str, note: str | None, if_revision: int | None, wait_s: int, *, as_json: bool) -> None:
    """Delete MODEL's route: its jobs get the model's default version again, as its workers announce it."""

    async def changed(gateway: GatewayClient) -> tuple[Document, Document | None]:
        before = await route_of(gateway, model)
        path = f"/v1/routes/{model}"
        return await change(gateway, "DELETE", path, RouteRevision, if_revision, note, wait_s), before

    revision, before = ask(found, changed)
    if as_json:
        show_json(revision)
        return
    click.echo(printable(f"{model} has no route any more, as of revision {revision['revision']}"))
    show_way_back(model, before)
