"""`penstock rollout pause`, `resume`, `abort`, `promote` and `retry`."""

import click

from penstock.asking import ask, noted, send
from penstock.documents import Document, Rollout
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import NOTE
from penstock.rollouts.asking import ROLLOUT, id_of
from penstock.rollouts.rendering import changed
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json
from schemas.rollouts import Verb


def _command(verb: Verb, told: str, example: str) -> click.Command:
    """A command that asks for the verb; twice is once."""

    @click.command(verb.value, help=told, epilog=examples(f"penstock rollout {verb} {example}", reads=GATEWAY_URL))
    @ROLLOUT
    @NOTE
    @JSON
    @asks_gateway
    def command(found: Found, rollout: str, note: str | None, *, as_json: bool) -> None:
        async def asked(gateway: GatewayClient) -> Document:
            path = f"/v1/rollouts/{await id_of(gateway, rollout)}/{verb}"
            return await send(gateway, "POST", path, Rollout, params=noted(note))

        done = ask(found, asked)
        if as_json:
            show_json(done)
        else:
            click.echo(changed(done))

    return command


pause = _command(
    Verb.PAUSE, "Keep ROLLOUT's share as it is.\n\nNothing is judged meanwhile, and nothing taken back.", "digits"
)
resume = _command(
    Verb.RESUME, "Let a paused ROLLOUT go on.\n\nThe time of its step begins anew; what was counted stays.", "digits"
)
abort = _command(
    Verb.ABORT,
    "Take ROLLOUT's whole share away, at once.\n\nThe version before has all the traffic again.",
    'digits --note "wrong labels"',
)
promote = _command(
    Verb.PROMOTE, "Give ROLLOUT's version all the traffic, at once.\n\nWhatever the judge has found.", "digits"
)
retry = _command(
    Verb.RETRY,
    "Begin a ROLLOUT anew that was rolled back or aborted.\n\nAt its first step, without what was counted before.",
    "digits",
)
