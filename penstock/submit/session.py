"""A run from its first signal handler to its exit status: opens both ends, runs, tells how it went."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import BinaryIO, Final

from rich.console import Console

from penstock.gateway_client import GatewayClient
from penstock.patience import Patience, TargetLost
from penstock.plain import printable
from penstock.running import KAFKA
from penstock.submit.gateway_target import GatewayTarget, pooled_clients
from penstock.submit.kafka_target import KafkaTarget
from penstock.submit.outcome import LineStatus, Outcome, output, write
from penstock.submit.run import Plan, Run, Target
from penstock.submit.view import View
from producers.bulk.results import ResultsReader
from producers.bulk.stream import lines
from producers.kafka_publisher import KafkaPublisher
from runtime.lifecycle import run_role
from runtime.logs import configure_logs
from runtime.settings import KafkaSettings, LogSettings, load
from schemas.errors import PenstockError

INTERRUPTED: Final = 130


def run(plan: Plan) -> int:
    """Do it, and return the exit status."""
    configure_logs(LogSettings(log_level="warning", log_format="console"), "submit")
    session = Session(plan, Console(stderr=True))
    run_role(session.run)
    return session.status


class Session:
    """`status` is the exit status once `run` has returned."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self.status = 1

    async def run(self, stop: asyncio.Event) -> None:
        work = asyncio.create_task(self._work())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
            self.status = INTERRUPTED
            self._console.print(self._how_to_go_on(), markup=False)
        elif (error := work.exception()) is not None:
            self._console.print(
                f"Error: {printable(_cause(error))}", style="red", markup=False, highlight=False, soft_wrap=True
            )

    async def _work(self) -> None:
        plan = self._plan
        with _opened(plan.file) as source:
            bar = self._console.is_terminal and not (plan.output == "-" and sys.stdout.isatty())
            with View(self._console, _size_bytes(source), bar=bar) as view:
                # The output last: who cannot reach the server has touched nothing.
                async with _target(plan, Patience(view.hold_up)) as target:
                    with output(plan.output, self._say) as results:
                        await self._submit(target, source, results, view)

    async def _submit(self, target: Target, source: BinaryIO, results: BinaryIO, view: View) -> None:
        plan = self._plan

        def tell(outcome: Outcome, line_bytes: int) -> None:
            write(results, outcome)
            view.outcome(outcome, line_bytes)

        the_run = Run(target, tell, plan.defaults, concurrency=plan.concurrency, wait=plan.wait)
        try:
            await the_run.over(lines(source))
        finally:
            self._say(view.summary(the_run.tally, as_json=plan.as_json))
        wanted = LineStatus.SUCCEEDED if plan.wait else LineStatus.QUEUED
        self.status = 0 if set(the_run.tally) <= {wanted} else 1

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _how_to_go_on(self) -> str:
        if self._plan.brokers is None and self._plan.file != "-":
            return "interrupted; the same command again collects the rest and runs nothing twice"
        return "interrupted; what was accepted goes on, and its id stands in the output"


@asynccontextmanager
async def _target(plan: Plan, patience: Patience) -> AsyncIterator[Target]:
    if plan.brokers is not None:
        async with _kafka(plan.brokers, plan, patience) as kafka:
            yield kafka
        return
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(each) for each in pooled_clients(plan.to, plan.concurrency)]
        gateway = GatewayClient(clients, plan.to, origin=plan.found.origin)
        await gateway.must_answer()  # a mistyped address is told at once; only one that has answered is waited for
        yield GatewayTarget(gateway, plan.run_id, patience, wait=plan.wait)


@asynccontextmanager
async def _kafka(brokers: str, plan: Plan, patience: Patience) -> AsyncIterator[Target]:
    settings = load(KafkaSettings, {**plan.found.environ, KAFKA: brokers})
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(KafkaPublisher(settings, compression="zstd"))
        target = KafkaTarget(publisher, settings.topics.requests, patience)
        if not plan.wait:
            yield target
            return
        reader = await stack.enter_async_context(ResultsReader(settings))
        async with asyncio.TaskGroup() as tasks:
            collecting = tasks.create_task(target.collect(reader.terminals()))
            yield target
            collecting.cancel()


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    with open(sys.stdin.fileno() if path == "-" else path, "rb", buffering=0, closefd=path != "-") as file:
        yield file


def _size_bytes(source: BinaryIO) -> int | None:
    """Where a share of the whole can be told: regular files, also as standard input."""
    return os.fstat(source.fileno()).st_size or None


def _cause(error: BaseException) -> str:
    """The first error in a tree of groups, in a line; what nobody foresaw is raised as it is."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, (PenstockError, TargetLost, OSError)):
        return str(error)
    raise error
