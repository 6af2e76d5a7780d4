"""The options of `penstock submit`."""

import os
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from penstock.cli import COMMANDS
from penstock.finding import DATA_DIR, found_by, is_http_url, unless_data_dir
from penstock.help import examples
from penstock.lazy import missing_extra
from penstock.running import GATEWAY_URL, KAFKA, Found
from penstock.submit.run import Plan
from schemas.errors import RequestError
from schemas.job_webhooks import EVENTS_OPTION, MEANT, asked_events
from schemas.topics import LaneClass

SUBMIT_TO = "PENSTOCK_SUBMIT_TO"
# Over HTTP a job under way is an open connection, in Kafka a number in memory.
HTTP_CONCURRENCY = 64
KAFKA_CONCURRENCY = 5000


@click.command(
    epilog=examples(
        "penstock submit jobs.jsonl --model digits --output results.jsonl",
        "penstock submit jobs.jsonl --model digits --to kafka --output results.jsonl",
        "generate-jobs | penstock submit - --output - | jq .status",
        reads=f"{SUBMIT_TO} or {GATEWAY_URL}; with --to kafka {KAFKA} and its companions",
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--to",
    "to",
    envvar=[SUBMIT_TO, GATEWAY_URL],
    help="http(s)://GATEWAY, kafka://BROKER[,BROKER...], or kafka alone: the Kafka of the stack that is found.  "
    "[default: its gateway]",
)
@DATA_DIR
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
@click.option("--webhook", metavar="URL", help="What is told of each job, of the lines that name none.")
@click.option(
    "--webhook-events",
    metavar="EVENT[,EVENT...]",
    help=f"What --webhook is told of: {', '.join(MEANT)}. Default: each job's end.",
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for results, or only submit.")
@click.option(
    "--run-id",
    help="Over HTTP, what the idempotency keys begin with: lines of the same run id are not run twice within a day. "
    "Default: the file's path; for standard input a new one each time.",
)
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON too; output is JSON anyhow.")
def submit(
    file: str,
    to: str | None,
    data_dir: Path | None,
    model: str | None,
    version: str | None,
    lane: str,
    output: str,
    concurrency: int | None,
    timeout_s: float | None,
    webhook: str | None,
    webhook_events: str | None,
    run_id: str | None,
    *,
    wait: bool,
    as_json: bool,
) -> None:
    """Submit the jobs of a JSONL FILE (- for standard input) and write what became of each.

    A line is an envelope, {"model": ..., "input": ...}, or with --model a payload alone: {"instances": [...]},
    {"features": ...} or {"inputs": [...]}. A "custom_id" comes back with the line's result.

    A wrong line is told and does not stop the rest. Exits with 0 only if every job succeeded (with --no-wait: was
    accepted), with 1 if one did not, with 130 after Ctrl-C; the output then holds what had arrived. Over HTTP the same
    command again collects the rest and runs nothing twice. Straight to Kafka, a second run runs every line again.
    """
    found, to = _place(to, data_dir)
    kafka = to.startswith("kafka:")
    _refuse_overwriting(file, output)
    if version is not None and model is None:
        raise click.UsageError("--version is a version of --model, which is missing")
    events = _webhook_events(webhook, webhook_events)
    plan = Plan(
        file=file,
        to=to,
        found=found,
        model=model,
        version=version,
        lane=LaneClass(lane),
        output=output,
        concurrency=concurrency or (KAFKA_CONCURRENCY if kafka else HTTP_CONCURRENCY),
        timeout_s=timeout_s,
        wait=wait,
        as_json=as_json,
        run_id=run_id or (uuid.uuid4().hex if file == "-" else str(Path(file).resolve())),
        webhook=webhook,
        webhook_events=events,
    )
    try:
        from penstock.submit.session import run  # noqa: PLC0415 - only a run waits for it, and for what it imports
    except ModuleNotFoundError as error:
        raise missing_extra("submit", COMMANDS["submit"], error) from error
    raise SystemExit(run(plan))


def _webhook_events(webhook: str | None, names: str | None) -> tuple[str, ...] | None:
    """Raises `UsageError`. Where webhooks may lie is the server's to say, which knows its own network."""
    if webhook is not None and not is_http_url(webhook):
        raise click.BadParameter(
            "must be https://... (or http://..., where the server allows it)", param_hint="--webhook"
        )
    if names is not None and webhook is None:
        raise click.UsageError("--webhook-events are events of --webhook, which is missing")
    try:
        return asked_events(names, webhook)
    except RequestError as error:
        raise click.BadParameter(
            error.message.removeprefix(f"{EVENTS_OPTION} "), param_hint="--webhook-events"
        ) from error


def _place(to: str | None, data_dir: Path | None) -> tuple[Found, str]:
    """The stack that is meant, and the URL of its gateway or of its brokers."""
    if to == "kafka":
        found = found_by(data_dir, KAFKA)
        return found, f"kafka://{found.environ.get(KAFKA) or 'localhost:9092'}"
    to = unless_data_dir("to", to, data_dir)
    if to is None:
        found = found_by(data_dir, GATEWAY_URL)
        return found, found.gateway_url
    _check(to)
    by_option = click.get_current_context().get_parameter_source("to") is ParameterSource.COMMANDLINE
    name = "--to" if by_option else SUBMIT_TO if os.environ.get(SUBMIT_TO) else GATEWAY_URL
    return Found(environ=os.environ, origin=f"; it is what {name} names"), to


def _check(to: str) -> None:
    """Raises `BadParameter` for what is no address."""
    if is_http_url(to):
        return
    try:
        parts = urlsplit(to)
        hosts = [urlsplit(f"//{address}") for address in parts.netloc.split(",")]
        complete = parts.scheme == "kafka" and all(host.hostname and host.port != 0 for host in hosts)
    except ValueError:  # a port that is none, or half an address
        parts, complete = urlsplit(""), False
    if not complete:
        raise click.BadParameter("must be http://..., https://..., kafka://HOST:PORT or kafka", param_hint="--to")
    if parts.path.strip("/") or parts.query:
        raise click.BadParameter("kafka:// takes brokers only: kafka://HOST:PORT[,HOST:PORT...]", param_hint="--to")


def _refuse_overwriting(file: str, output: str) -> None:
    if "-" not in (file, output) and Path(output).exists() and Path(output).samefile(file):
        raise click.BadParameter("is the input itself", param_hint="--output")
