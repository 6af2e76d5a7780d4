"""`penstock feedback`: what an answer was worth, told over HTTP."""

import click

from penstock.asking import ask, send
from penstock.documents import Document, Feedback
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import JOB, TEXT
from penstock.plain import printable
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json


@click.command(
    epilog=examples(
        "penstock feedback job_0199f0a7b3c1d2e4f5a6b7c8d9e0f1a2b3c4 --reward 0.5",
        "penstock feedback job_0199f0a7b3c1d2e4f5a6b7c8d9e0f1a2b3c4 --label 7",
        reads=GATEWAY_URL,
    )
)
@click.argument("job", type=JOB)
@click.option("--reward", type=click.FloatRange(0, 1), help="What the answer was worth.")
@click.option("--label", type=TEXT, help="The label that is right.")
@JSON
@asks_gateway
def feedback(found: Found, job: str, reward: float | None, label: str | None, *, as_json: bool) -> None:
    """Tell what the answer of JOB was worth: --reward or --label.

    Told again, it takes the place of what was told before. Versions are compared by it, and rollouts with a guardrail
    of kind outcome_bad, or the strategy bandit, go by it.
    """
    if (reward is None) == (label is None):
        raise click.UsageError("give --reward or --label" + ("" if reward is None else ", not both"))
    told: Document = {"reward": reward} if label is None else {"label": label}

    async def tell(gateway: GatewayClient) -> Document:
        return await send(gateway, "POST", f"/v1/jobs/{job}/feedback", Feedback, told)

    kept = ask(found, tell)
    if as_json:
        show_json(kept)
    else:
        click.echo(printable(line(kept)))


def line(kept: Document) -> str:
    """What is kept, for a person."""
    of = f"{kept['job_id']} ({kept['model']}/{kept['model_version']})"
    if kept["label"] is None:
        return f"{of}: reward {kept['reward']:g}"
    if kept["predicted"] is None:
        return f"{of}: label {kept['label']}; which is the job's own is not known, so it counts for nothing"
    return f"{of}: label {kept['label']}, " + ("as predicted" if kept["reward"] else f"predicted {kept['predicted']}")
