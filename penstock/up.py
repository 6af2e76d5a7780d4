"""`penstock up`: the whole stack in one command, until Ctrl-C."""

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

import penstock
from penstock.console import Console
from penstock.embedded.locations import default_data_dir
from penstock.errors import StackError, in_a_line
from penstock.help import examples
from penstock.invalid_settings import invalid_settings, unknown_variables
from penstock.stack import Stack
from penstock.welcome import welcome

DEFAULT_PORT = 8080
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class UpOptions:
    """What the command line said. `data_dir` None means one that is thrown away."""

    data_dir: Path | None
    port: int
    models: Path
    trust: str
    workers: int
    gateways: int
    open_when_ready: bool


HELP = examples(
    "penstock up",
    "penstock up --models ~/models --trust code --workers 2",
    "penstock up --ephemeral --port 0",
    reads="PENSTOCK_KAFKA_BOOTSTRAP_SERVERS, PENSTOCK_POSTGRES_DSN and PENSTOCK_REDIS_URL name services to use instead "
    "of our own; PENSTOCK_MODEL_REPOSITORY and PENSTOCK_WORKER_TRUST are --models and --trust; PENSTOCK_CACHE_DIR, "
    "PENSTOCK_JAVA and PENSTOCK_MAVEN_REPOSITORY_URL tell where Kafka's programs are kept, run and fetched. All other "
    "PENSTOCK_* variables reach the roles: `penstock gateway --help`, `penstock worker --help` and so on have them.",
)


@click.command(epilog=HELP)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where jobs, results and topics stay from one run to the next.  [default: in your user's data directory]",
)
@click.option("--ephemeral", is_flag=True, help="Keep nothing: a new data directory, removed in the end.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Of the API; 0: any free one.",
)
@click.option(
    "--models",
    envvar="PENSTOCK_MODEL_REPOSITORY",
    type=click.Path(file_okay=False, path_type=Path),
    help="The model repository; models that come later are served too.  [default: a checkout's examples or `models`]",
)
@click.option(
    "--trust",
    type=click.Choice(["data", "code"], case_sensitive=False),
    envvar="PENSTOCK_WORKER_TRUST",
    default="data",
    show_default=True,
    help="`code`: run what models bring as code (handler.py, joblib, ...), where their model.yaml pins it.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that run models.")
@click.option(
    "--gateways", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that share --port."
)
@click.option("--open-when-ready", is_flag=True, help="Open the API's documentation in a browser.")
def up(
    data_dir: Path | None,
    port: int,
    models: Path | None,
    trust: str,
    workers: int,
    gateways: int,
    *,
    ephemeral: bool,
    open_when_ready: bool,
) -> None:
    """Run everything on this machine: Postgres, Valkey, Kafka and every role of Penstock.

    Nothing need be installed. A service whose address is set, by PENSTOCK_KAFKA_BOOTSTRAP_SERVERS,
    PENSTOCK_POSTGRES_DSN or PENSTOCK_REDIS_URL, is used instead of one of our own. Ctrl-C stops everything; a second
    one at once. When all is ready it says where everything is, what is served and what is left out, and what to try.

    Exits with 0 after a signal, with 1 where the stack cannot start, with 2 for invalid settings.
    """
    if ephemeral and data_dir is not None:
        raise click.UsageError("--ephemeral keeps nothing, so it takes no --data-dir")
    refuse_invalid_settings()
    try:
        kept = None if ephemeral else (data_dir or default_data_dir(os.getuid()))
        options = UpOptions(kept, port, models or example_models(), trust, workers, gateways, open_when_ready)
        asyncio.run(Up(options, Console(sys.stderr)).run())
    except (StackError, OSError) as error:
        raise click.ClickException(in_a_line(error)) from error


def refuse_invalid_settings() -> None:
    """Exit with 2 if a role would: before anything is started, and with the mistakes of all roles at once."""
    told = invalid_settings()
    for line in told:
        click.echo(line, err=True)
    if told:
        raise SystemExit(2)


def example_models() -> Path:
    """Of the checkout that we run from; else, from a wheel, what `penstock init` makes here."""
    checkout = Path(penstock.__file__).parent.parent / "examples" / "models"
    return checkout if checkout.is_dir() else Path("models")


class Up:
    """One run, from the command to the last process that ends."""

    def __init__(self, options: UpOptions, console: Console) -> None:
        self._options = options
        self._console = console
        unknown = dict(unknown_variables(os.environ))
        for line in unknown.values():
            console.say(line)
        self._stack = Stack(
            options.data_dir,
            environ={name: value for name, value in os.environ.items() if name not in unknown}
            | {"PENSTOCK_WORKER_TRUST": options.trust},
            models=options.models,
            port=options.port,
            workers=options.workers,
            gateways=options.gateways,
            rollouts=True,
            notifiers=1,
            feeders=1,
            announce=console.say,
            on_line=console.line,
        )
        self._stopping = False

    async def run(self) -> None:
        """Returns when a signal has stopped it; raises `StackError` if it cannot start."""
        serving = asyncio.create_task(self._serve(), name="serve")
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal, serving)
        try:
            await serving
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        if self._stopping:
            self._console.say("stopped")

    async def _serve(self) -> None:
        began = time.monotonic()
        async with self._stack as stack:
            seconds = time.monotonic() - began
            click.echo(await welcome(stack, self._options.models, seconds))
            if self._options.open_when_ready:
                click.launch(f"{stack.gateway_url}/docs")
            await stack.watch()

    def _on_signal(self, serving: asyncio.Task[None]) -> None:
        if self._stopping:
            self._console.say("ending at once")
            self._stack.kill()
        else:
            self._console.say("stopping (once more to end at once)")
            self._stopping = True
            serving.cancel()
