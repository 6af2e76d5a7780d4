"""`penstock rollout start`."""

from collections.abc import Sequence
from typing import Any

import click

from penstock.asking import ask, noted, send
from penstock.documents import Document, Rollout
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import MODEL, NOTE, VERSION
from penstock.rollouts.asking import TIMEOUT, end_with, ended_in_time, tell
from penstock.rollouts.parsing import GuardrailGiven, Steps
from penstock.rollouts.rendering import changed
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json
from penstock.times import Duration
from schemas.rollouts import Strategy


@click.command(
    epilog=examples(
        "penstock rollout start digits 2",
        "penstock rollout start digits 2 --steps 1,10,50,100 --step-time 30m --wait",
        "penstock rollout start digits 2 --guardrail failed:margin=2 \\",
        "    --guardrail slow:dry-run",
        "penstock rollout start digits 2 --strategy bandit",
        reads=GATEWAY_URL,
    )
)
@click.argument("model", type=MODEL)
@click.argument("version", type=VERSION)
@click.option(
    "--steps", type=Steps(), help="Percents that rise; 100 is the promotion.  [default: 1,5,25,50,100; of a bandit 10]"
)
@click.option(
    "--step-time",
    "step_time_s",
    type=Duration(),
    help="That each step lasts at least.  [default: 10m; of a bandit 15m]",
)
@click.option(
    "--guardrail",
    "guardrails",
    type=GuardrailGiven(),
    multiple=True,
    help="KIND[:margin=N,floor=N,limit=N,threshold=N,dry-run]; kinds: failed, slow, invalid_output, outcome_bad, "
    "disagree.  [default: the first three, of a bandit the first four]",
)
@click.option(
    "--strategy",
    type=click.Choice([each.value for each in Strategy]),
    help="canary: step by step. bandit: the share follows from what callers tell of answers.  [default: canary]",
)
@click.option(
    "--feedback-delay",
    "feedback_delay_s",
    type=Duration(),
    help="So long after a job's end its outcome counts.  [default: 5m]",
)
@click.option("--rescue/--no-rescue", default=None, help="What it fails runs once on the one before.  [default: on]")
@click.option(
    "--other-inputs", is_flag=True, default=None, help="Also where it takes other inputs than the one before."
)
@click.option("--wait", "waits", is_flag=True, help="Until it has ended; exits with 0 where it was promoted, else 1.")
@TIMEOUT
@NOTE
@JSON
@asks_gateway
def start(
    found: Found,
    model: str,
    version: str,
    guardrails: Sequence[Document],
    timeout_s: float | None,
    note: str | None,
    *,
    waits: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Give VERSION of MODEL a growing share of the traffic.

    It takes the share from the version that has the traffic now. Until it has ended, nobody else changes the route.
    The same start twice is one rollout.
    """
    if timeout_s is not None and not waits:
        raise click.UsageError("--timeout is how long to --wait")
    plan = {"model": model, "version": version} | {name: value for name, value in given.items() if value is not None}
    if guardrails:
        plan["guardrails"] = list(guardrails)

    async def started(gateway: GatewayClient) -> tuple[Document, Document | None]:
        rollout = await send(gateway, "POST", "/v1/rollouts", Rollout, plan, noted(note))
        if not waits:
            return rollout, None
        tell(f"waiting for {rollout['id']}")
        return rollout, await ended_in_time(gateway, rollout["id"], timeout_s, tell)

    begun, end = ask(found, started)
    last = end or begun
    if as_json:
        show_json(last)
    else:
        click.echo(changed(last))
        if not waits:
            click.echo(f"watch: penstock rollout show {model}")
    if waits:
        end_with(end, begun["id"], timeout_s)
