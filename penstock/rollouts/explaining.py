"""`penstock rollout explain`: the judge's verdict, made again here from what was counted."""

from datetime import datetime
from typing import Final, NamedTuple

import click
import msgspec

from penstock.asking import ask, no_gateway, read
from penstock.documents import Document, RolloutEvents
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.plain import printable
from penstock.rollouts.asking import ROLLOUT, rollout_of
from penstock.rollouts.rendering import moment, shown
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json
from schemas.stats import INTERVAL_S
from workers.rollout.judging.evidence import Evidence
from workers.rollout.judging.verdicts import explain as explained
from workers.rollout.judging.verdicts import verdict

PAGE: Final = 20


class Judged(NamedTuple):
    """What was found when, and from what; `counted` is None where nothing was judged."""

    at: str | None
    told: Document | None
    counted: Document | None
    what: str


@click.command(epilog=examples("penstock rollout explain digits", reads=GATEWAY_URL))
@ROLLOUT
@click.option("--event", type=click.IntRange(min=1), help="Of this event, by its sequence number.  [default: newest]")
@JSON
@asks_gateway
def explain(found: Found, rollout: str, event: int | None, *, as_json: bool) -> None:
    """Say why ROLLOUT was moved or held: the verdict is made again from what was counted.

    Exits with 1 where it comes out otherwise: this program is of another version than the controller was.
    """

    async def asked(gateway: GatewayClient) -> Judged:
        known = await rollout_of(gateway, rollout)
        return await (newest(gateway, known) if event is None else of_event(gateway, known["id"], event))

    judged = ask(found, asked)
    if judged.counted is None or judged.told is None or judged.at is None:
        raise click.ClickException("nothing was judged yet: counts come some seconds after a rollout begins")
    evidence, at = _evidence(judged.counted), datetime.fromisoformat(judged.at)
    again = verdict(evidence, at, INTERVAL_S)
    same = (again.decision, again.reason) == (judged.told["decision"], judged.told["reason"])
    if as_json:
        show_json({"at": judged.at, "told": judged.told, "again": again, "same": same, "counted": judged.counted})
    else:
        click.echo(f"{judged.what}, {moment(judged.at)}")
        for line in explained(evidence, at, INTERVAL_S):
            click.echo(printable(line))
        if not same:
            click.echo(f"Error: then it was {judged.told['decision']}: {judged.told['reason']}", err=True)
    if not same:
        raise SystemExit(1)


async def newest(gateway: GatewayClient, rollout: Document) -> Judged:
    """What was found last. What moved the rollout stands beside its event; what held it, beside the rollout."""
    at, told = rollout.get("judged_at"), rollout["verdict"]
    page = await read(gateway, f"/v1/rollouts/{rollout['id']}/events", RolloutEvents, {"limit": str(PAGE)})
    for each in page["data"]:
        if each["at"] == at and each.get("counted") is not None:
            return Judged(at, told, each["counted"], shown(each["verb"]))
    return Judged(at, told, rollout.get("counted"), "hold")


async def of_event(gateway: GatewayClient, rollout_id: str, sequence: int) -> Judged:
    params = {"limit": "1", "before": str(sequence + 1)}
    page = await read(gateway, f"/v1/rollouts/{rollout_id}/events", RolloutEvents, params)
    for each in page["data"]:
        if each["sequence"] == sequence:
            what = f"event {sequence} ({shown(each['verb'])})"
            if each["verdict"] is None:
                raise click.ClickException(f"{what} was not judged by counts")
            if each.get("counted") is None:
                raise click.ClickException(f"{what}: what was counted by then is kept no longer")
            return Judged(each["at"], each["verdict"], each["counted"], shown(each["verb"]))
    raise click.ClickException(f"{rollout_id} has no event {sequence}")


def _evidence(counted: Document) -> Evidence:
    try:
        return msgspec.convert(counted, Evidence, strict=False)
    except msgspec.ValidationError as error:
        raise click.ClickException(
            f"what was counted cannot be read by this version: {no_gateway(str(error)).message}"
        ) from error
