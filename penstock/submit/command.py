"""The options of `penstock submit`."""

import uuid
from pathlib import Path
from urllib.parse import urlsplit

import click

from penstock.extras import install_command
from penstock.submit.run import Plan
from schemas.topics import LaneClass

DEFAULT_TO = "http://localhost:8080"
# Over HTTP a job under way is an open connection, in Kafka a number in memory.
HTTP_CONCURRENCY = 64
KAFKA_CONCURRENCY = 5000


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--to",
    "to",
    default=DEFAULT_TO,
    envvar="PENSTOCK_SUBMIT_TO",
    show_envvar=True,
    show_default=True,
    help="http(s)://GATEWAY or kafka://BROKER[,BROKER...].",
)
@click.option("--model", help="Model of the lines that name none.")
@click.option("--version", help="Version of --model; left out, the server chooses.")
@click.option(
    "--lane",
    type=click.Choice([lane.value for lane in LaneClass]),
    default=LaneClass.BULK.value,
    show_default=True,
    help="Lane of the lines that name none.",
)
@click.option(
    "--output", default="-", help="Where results go, as JSONL, in the order they arrive. Default: standard output."
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    help=f"Jobs under way at a time. Default: {HTTP_CONCURRENCY} over HTTP, {KAFKA_CONCURRENCY} to Kafka.",
)
@click.option(
    "--timeout-s", type=click.FloatRange(min=0, min_open=True), help="Time for each job of the lines that name none."
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for results, or only submit.")
@click.option(
    "--run-id",
    help="Over HTTP, what the idempotency keys begin with: lines of the same run id are not run twice within a day. "
    "Default: the file's path; for standard input a new one each time.",
)
def submit(
    file: str,
    to: str,
    model: str | None,
    version: str | None,
    lane: str,
    output: str,
    concurrency: int | None,
    timeout_s: float | None,
    run_id: str | None,
    *,
    wait: bool,
) -> None:
    """Submit the jobs of a JSONL FILE (- for standard input) and write what became of each.

    A line is an envelope, {"model": ..., "input": ...}, or with --model a payload alone: {"instances": [...]},
    {"features": ...} or {"inputs": [...]}. A "custom_id" comes back with the line's result.

    A wrong line is told and does not stop the rest. Exits with 0 only if every job succeeded (with --no-wait: was
    accepted), with 1 if one did not, with 130 after Ctrl-C; the output then holds what had arrived. Over HTTP the same
    command again collects the rest and runs nothing twice. Straight to Kafka, a second run runs every line again.
    """
    scheme = _scheme(to)
    _refuse_overwriting(file, output)
    if version is not None and model is None:
        raise click.UsageError("--version is a version of --model, which is missing")
    plan = Plan(
        file=file,
        to=to,
        model=model,
        version=version,
        lane=LaneClass(lane),
        output=output,
        concurrency=concurrency or (KAFKA_CONCURRENCY if scheme == "kafka" else HTTP_CONCURRENCY),
        timeout_s=timeout_s,
        wait=wait,
        run_id=run_id or (uuid.uuid4().hex if file == "-" else str(Path(file).resolve())),
    )
    try:
        from penstock.submit.session import run  # noqa: PLC0415 - httpx and rich come with an extra
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"`penstock submit` needs the package {error.name}: {install_command('bulk')}"
        ) from error
    raise SystemExit(run(plan))


def _scheme(to: str) -> str:
    try:
        parts = urlsplit(to)
        addresses = parts.netloc.split(",") if parts.scheme == "kafka" else [parts.netloc]
        hosts = [urlsplit(f"//{address}") for address in addresses]
        complete = all(host.hostname and host.port != 0 for host in hosts)
    except ValueError:  # a port that is none, or half an address
        parts, complete = urlsplit(""), False
    if not complete or parts.scheme not in {"http", "https", "kafka"}:
        raise click.BadParameter("must be http://..., https://... or kafka://HOST:PORT", param_hint="--to")
    if parts.scheme == "kafka" and (parts.path.strip("/") or parts.query):
        raise click.BadParameter("kafka:// takes brokers only: kafka://HOST:PORT[,HOST:PORT...]", param_hint="--to")
    return parts.scheme


def _refuse_overwriting(file: str, output: str) -> None:
    if "-" not in (file, output) and Path(output).exists() and Path(output).samefile(file):
        raise click.BadParameter("is the input itself", param_hint="--output")
