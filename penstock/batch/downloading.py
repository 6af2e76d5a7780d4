"""`penstock batch results`: what a batch gave, into files or onto standard output."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

import click

from penstock.asking import ask, read
from penstock.batch.documents import ENDED, Batch, all_completed
from penstock.documents import Document
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import BATCH
from penstock.running import GATEWAY_URL, Found

NEXT_AFTER: Final = "penstock-next-after"
START: Final = "0.0"
FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command(
    epilog=examples(
        "penstock batch results $ID --output answers.jsonl --errors errors.jsonl",
        "penstock batch results $ID --partial | jq .custom_id",
        reads=GATEWAY_URL,
    )
)
@click.argument("batch_id", type=BATCH, metavar="ID")
@click.option("--output", type=FILE, help="File for the answers.  [default: standard output]")
@click.option("--errors", type=FILE, help="File for the lines that have an error.  [default: that of the answers]")
@click.option("--partial", is_flag=True, help="What is final so far, answers and errors alike, in --output.")
@asks_gateway
def results(found: Found, batch_id: str, output: Path | None, errors: Path | None, *, partial: bool) -> None:
    """Download what a batch gave: a line of JSON for each of its lines.

    In the order in which they ended; `custom_id` tells which is which. Exits with 1 where a line has an error.
    """
    if partial and errors is not None:
        raise click.UsageError("--partial has answers and errors together: give no --errors")

    async def downloaded(gateway: GatewayClient) -> Document:
        batch = await read(gateway, f"/v1/batches/{batch_id}", Batch)
        if not partial and batch["status"] not in ENDED:
            raise click.ClickException(f"{batch_id} is {batch['status']}: wait for its end, or ask with --partial")
        await download(gateway, batch, output, errors, partial=partial)
        return batch

    batch = ask(found, downloaded)
    if not partial and not all_completed(batch):
        raise SystemExit(1)


async def download(
    gateway: GatewayClient, batch: Document, output: Path | None, errors: Path | None, *, partial: bool = False
) -> None:
    """Write what there is. Files are made new."""
    with ExitStack() as stack:
        answers: IO[bytes] = sys.stdout.buffer if output is None else stack.enter_context(output.open("wb"))
        if partial:
            await _partial(gateway, batch["id"], answers)
            return
        wrong = answers if errors is None else stack.enter_context(errors.open("wb"))
        for file_id, to in ((batch.get("output_file_id"), answers), (batch.get("error_file_id"), wrong)):
            if file_id is not None:
                await gateway.download(f"/v1/files/{file_id}/content", to.write)
        answers.flush()


async def _partial(gateway: GatewayClient, batch_id: str, to: IO[bytes]) -> None:
    after = START
    while True:
        headers = await gateway.download(f"/v1/batches/{batch_id}/results", to.write, {"after": after})
        following = headers.get(NEXT_AFTER, after)
        if following == after:
            to.flush()
            return
        after = following
