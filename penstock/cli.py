"""The `penstock` command. Each subcommand is imported when it is called: a role loads nothing but its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from penstock.lazy import LazyGroup, Place
from penstock.plain import printable_lines
from runtime.extras import NAME

RUN, MODELS, USE, CARE = "Run it", "Bring models", "Use it", "Look after it"
COMMANDS: Final = {
    "up": Place("penstock.up", "up", "stack", "Run everything on this machine, until Ctrl-C.", RUN),
    "gateway": Place("penstock.roles", "gateway", "gateway", "Serve the HTTP API.", RUN),
    "worker": Place("penstock.roles", "worker", "worker", "Run models over the jobs of their lanes.", RUN),
    "router": Place("penstock.roles", "router", "router", "Choose a version for jobs sent straight to Kafka.", RUN),
    "sink": Place("penstock.roles", "sink", "sink", "Make results durable and wake whoever waits for them.", RUN),
    "notifier": Place("penstock.roles", "notifier", "notifier", "Send webhooks, and try again what fails.", RUN),
    "feeder": Place("penstock.roles", "feeder", "feeder", "Run batches, window by window.", RUN),
    "rollout-controller": Place("penstock.roles", "rollout_controller", "rollout", "Judge new versions.", RUN),
    "init": Place("penstock.init.command", "init", "worker", "Make a model repository with an example.", MODELS),
    "models": Place("penstock.models.command", "models", "worker", "Check models and their files; list, load.", MODELS),
    "import": Place("penstock.importing.command", "import_", "worker", "Bring a model along from elsewhere.", MODELS),
    "export": Place("penstock.exporting.command", "export", "export", "Turn a model into one we can serve.", MODELS),
    "run": Place("penstock.run.command", "run", "bulk", "Run a model over one input and show the answer.", USE),
    "jobs": Place("penstock.jobs.command", "jobs", "bulk", "List jobs, read, await and cancel them.", USE),
    "submit": Place("penstock.submit.command", "submit", "bulk", "Submit the jobs of a JSONL file.", USE),
    "batch": Place("penstock.batch.command", "batch", "bulk", "Run files of many requests in bulk.", USE),
    "webhooks": Place("penstock.webhooks.command", "webhooks", "bulk", "Have ends of jobs sent to a URL.", USE),
    "feedback": Place("penstock.feedback", "feedback", "bulk", "Tell what an answer was worth.", USE),
    "asyncapi": Place("penstock.asyncapi", "asyncapi", "gateway", "Print what Kafka's records hold, as AsyncAPI.", USE),
    "route": Place("penstock.routes.command", "route", "bulk", "Split a model's jobs among its versions.", CARE),
    "rollout": Place("penstock.rollouts.command", "rollout", "bulk", "Bring a version in step by step.", CARE),
    "compare": Place("penstock.compare.command", "compare", "bulk", "Hold versions of a model side by side.", CARE),
    "hold": Place("penstock.holds.command", "hold", "bulk", "Have jobs wait, or refuse new ones; list holds.", CARE),
    "release": Place("penstock.holds.releasing", "release", "bulk", "Let jobs go on that are held.", CARE),
    "drain": Place("penstock.holds.draining", "drain", "bulk", "End the jobs that wait.", CARE),
    "status": Place("penstock.status.command", "status", "bulk", "Show what runs, what is wrong first.", CARE),
    "doctor": Place("penstock.doctor.command", "doctor", "stack", "Say what is wrong, and what to do about it.", CARE),
    "env": Place("penstock.env", "env", "bulk", "Print the variables that a further process needs.", CARE),
    "dlq": Place("penstock.dlq.command", "dlq", "bulk", "Look through dead letters, replay and drop them.", CARE),
    "migrate": Place("penstock.migrate", "migrate", "stores", "Bring tables and topics up to date.", CARE),
}
INTERRUPTED: Final = 130  # 128 and the number of the signal, as shells have it
BROKEN_PIPE: Final = 141


class Main(LazyGroup):
    """Ends as a Unix program does: quietly, where whoever reads us has gone or somebody presses Ctrl-C. Errors, which
    may hold what a server or a file says, go to the terminal without its control characters."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with quiet_ends(), printable_errors():  # help is shown here
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with quiet_ends(), printable_errors():
            return super().invoke(ctx)


@contextmanager
def quiet_ends() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # What is still buffered is to be written to somebody when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise click.exceptions.Exit(BROKEN_PIPE) from None


@contextmanager
def printable_errors() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        error.message = printable_lines(error.message)
        raise


@click.group(cls=Main, places=COMMANDS, context_settings={"max_content_width": 80})
@click.version_option(package_name=NAME, prog_name="penstock")
def main() -> None:
    """Asynchronous batch inference: HTTP and Kafka in, micro-batches through the model, results out."""
    # ONNX Runtime's wheels send telemetry unless this is set before it is used; child processes inherit it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
