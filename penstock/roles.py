"""`penstock gateway`, `penstock worker`, ...: one role in this process, configured by PENSTOCK_* variables."""

import gc
import os
from importlib import import_module

import click
from pydantic import ValidationError

from penstock.cli import COMMANDS
from penstock.lazy import missing_extra
from penstock.role_help import RoleCommand
from runtime.logs import configure_logs, get_logger
from runtime.settings import LogSettings


def run_role(name: str, module: str) -> None:
    """Import a role's `main` and run it until a signal stops it.

    Exits with 0 when it was told to stop, with 2 where settings or what they name cannot be right, with 1 where it
    failed; what is merely away is waited for.
    """
    gc.disable()  # until the role runs: collections would take a sixth of the imports, and find nothing
    try:
        role = import_module(module)
        warn_of_unknown_variables(name)
    except ModuleNotFoundError as error:
        raise missing_extra(name, COMMANDS[name], error) from error
    role.run()


def warn_of_unknown_variables(role: str) -> None:
    """A misspelt variable changes nothing, which nobody would notice."""
    from penstock.invalid_settings import unknown_variables  # noqa: PLC0415 - the settings of all roles

    unknown = list(unknown_variables(os.environ))
    if unknown:
        try:
            configure_logs(LogSettings(), role)
        except ValidationError:
            return  # the role itself is about to tell all mistakes
        for _, line in unknown:
            get_logger(__name__).warning(line)


# Source: docs/configuration.md, which has the same for all roles.
EXITS = (
    ("0", "it was told to stop, and has finished what it had begun"),
    ("1", "it failed: its log says at what; start it again"),
    ("2", "settings, or what they name, cannot be right"),
    ("130, 143", "a second signal ended it at once"),
)
DEVICE_EXIT = ("3", "its device failed; start it again")


@click.command(
    cls=RoleCommand,
    exits=EXITS,
    examples=(
        "PENSTOCK_POSTGRES_DSN=postgresql://penstock@localhost:5432/penstock \\",
        "  penstock gateway",
        "PENSTOCK_GATEWAY_HOST=0.0.0.0 PENSTOCK_LOG_FORMAT=console penstock gateway",
    ),
)
def gateway() -> None:
    """Serve the HTTP API.

    Takes jobs, writes them into Postgres and onto their lanes in Kafka, and answers with what came of them. Any number
    of gateways may run over the same services. It waits for what is away, and listens from its first moment on.
    """
    run_role("gateway", "gateway.main")


@click.command(
    cls=RoleCommand,
    exits=(*EXITS[:3], DEVICE_EXIT, EXITS[3]),
    examples=(
        "PENSTOCK_MODEL_REPOSITORY=/srv/models penstock worker",
        "PENSTOCK_WORKER_MODELS='digits,text-*' PENSTOCK_WORKER_TRUST=code \\",
        "  penstock worker",
        'eval "$(penstock env)" && penstock worker   # one more beside `penstock up`',
    ),
)
def worker() -> None:
    """Run models over the jobs of their lanes.

    Serves the model versions of its repository, and what comes into it while it runs; a model that cannot be served is
    left out with the reason, and the others are served. Workers of one lane share its partitions. One process uses one
    device.
    """
    run_role("worker", "workers.inference.main")


@click.command(
    cls=RoleCommand,
    exits=EXITS,
    examples=("PENSTOCK_KAFKA_BOOTSTRAP_SERVERS=kafka-1:9092,kafka-2:9092 penstock router",),
)
def router() -> None:
    """Choose a version for jobs that were sent straight to Kafka.

    Checks them as a gateway would, writes them into Postgres and onto their lanes; and brings jobs that are to be tried
    again back when they are due. Without routers jobs over HTTP run, but none is tried again.
    """
    run_role("router", "workers.router.main")


@click.command(
    cls=RoleCommand, exits=EXITS, examples=("PENSTOCK_REDIS_URL=redis://:secret@cache:6379/0 penstock sink",)
)
def sink() -> None:
    """Make results durable and wake whoever waits for them.

    Writes the end of each job into Postgres, where the first one counts, ends jobs whose time is over, and removes what
    has been kept for long enough.
    """
    run_role("sink", "workers.sink.main")


@click.command(
    cls=RoleCommand,
    exits=EXITS,
    examples=(
        "PENSTOCK_POSTGRES_DSN=postgresql://penstock@localhost:5432/penstock \\",
        "  penstock notifier",
        "PENSTOCK_WEBHOOK_ALLOW_PRIVATE=true penstock notifier   # also to loopback",
    ),
)
def notifier() -> None:
    """Send webhooks, and try again what fails.

    Tells endpoints what became of jobs: signed, each event at least once, and one receiver that is away slows no other.
    Any number of notifiers may run. Without any, events wait in Postgres.
    """
    run_role("notifier", "workers.notifier.main")


@click.command(
    cls=RoleCommand,
    exits=EXITS,
    examples=("PENSTOCK_BLOBS_URL=s3://bucket/penstock \\", "  penstock feeder"),
)
def feeder() -> None:
    """Run batches: bring their lines into the lanes, and write down what came of them.

    Keeps some seconds of work of each batch in its lane, so that others' are not held up. Of several feeders one feeds,
    and another takes over when it goes. Without any, batches wait.
    """
    run_role("feeder", "workers.feeder.main")


@click.command(
    "rollout-controller",
    cls=RoleCommand,
    exits=EXITS,
    examples=("PENSTOCK_KAFKA_BOOTSTRAP_SERVERS=kafka-1:9092 penstock rollout-controller",),
)
def rollout_controller() -> None:
    """Keep what workers count of each model version, and move rollouts by it.

    Reads the stats topic into windows of time. Of several such processes one keeps the windows, and another takes over
    when it goes; two do no harm. Without any, jobs run and routes stay as they are.
    """
    run_role("rollout-controller", "workers.rollout.main")
