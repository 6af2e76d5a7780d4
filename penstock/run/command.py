"""The options of `penstock run`."""

import errno
import os
import sys
import uuid
from pathlib import Path
from typing import Final

import click
import msgspec

from penstock.asking import ask, document, patience, read
from penstock.documents import Document, Job, Model
from penstock.finding import asks_gateway
from penstock.gateway_client import WAIT_S, GatewayClient, job_once_ended, read_job
from penstock.help import examples
from penstock.jobs.rendering import why
from penstock.parameters import MODEL, VERSION
from penstock.plain import printable
from penstock.results_shown import show_result
from penstock.run.inputs import Body, body_of, takes_text
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json
from schemas.errors import InvalidInput
from schemas.jobs import TERMINAL, Status
from schemas.signature import Signature

TIMEOUT_S: Final = 60.0
SHOWN_CHARACTERS: Final = 100  # of an input that is no file


@click.command(
    epilog=examples(
        "penstock run digits seven.png",
        'penstock run fraud \'{"amount": 12.5, "age": 35, "country": 2}\'',
        "penstock run minilm 'a sentence'",
        "generate-row | penstock run fraud - --json | jq .result",
        reads=GATEWAY_URL,
    )
)
@click.argument("model", type=MODEL)
@click.argument("file")
@click.option("--version", type=VERSION, help="Of the model; left out, the server chooses.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1, max=604_800),
    default=TIMEOUT_S,
    show_default=True,
    help="Seconds that the job may take; then it fails.",
)
@JSON
@asks_gateway
def run(found: Found, model: str, file: str, version: str | None, timeout_s: float, *, as_json: bool) -> None:
    """Run MODEL over one input and show the answer.

    FILE is a PNG or JPEG picture, JSON (a whole request body, a row, or a list of rows), numpy's .npy or .npz, CSV with
    or without a line of names, or a text; - for standard input. What is no file is taken as the input itself. --json
    shows the whole job.

    Exits with 0 if the job succeeded, else with 1.
    """

    async def ran(gateway: GatewayClient) -> Document:
        signature = await signature_of(gateway, model, version)
        try:
            body = body_given(file, signature)
        except InvalidInput as error:
            name = "standard input" if file == "-" else printable(" ".join(file[:SHOWN_CHARACTERS].split()))
            raise click.ClickException(f"{name}: {error.message}") from error
        return await run_job(gateway, model, version, body, timeout_s)

    job = ask(found, ran)
    if as_json:
        show_json(job)
    elif job["status"] == Status.SUCCEEDED:
        show_result(job["result"])
    if job["status"] != Status.SUCCEEDED:
        raise click.ClickException(f"{job['id']} {job['status']}: {why(job)}")


async def signature_of(gateway: GatewayClient, model: str, version: str | None) -> Signature:
    if version is None:
        told = await read(gateway, f"/v1/models/{model}", Model)
        version = told["default_version"]
        if version is None:
            reasons = [told["reason"], *(f"{each['version']}: {each['reason']}" for each in told["version_states"])]
            raise click.ClickException(f"no version of {model} is served: {'; '.join(filter(None, reasons))}")
    return msgspec.convert(await read(gateway, f"/v1/models/{model}/versions/{version}", Signature), Signature)


def body_given(file: str, signature: Signature) -> Body:
    """Raises `InvalidInput`."""
    if file == "-":
        return body_of(sys.stdin.buffer.read(), signature)
    path = Path(file)
    try:
        return body_of(path.read_bytes(), signature, suffix=path.suffix.lower())
    except OSError as error:
        missing = error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
        if not (missing and (takes_text(signature) or looks_like_values(file))):
            told = ", and the model takes no text" if missing else ""
            raise InvalidInput(f"{error.strerror}{told}") from error
        return body_of(os.fsencode(file), signature)


def looks_like_values(text: str) -> bool:
    return text.lstrip()[:1] in tuple('[{"-.0123456789') or "," in text


async def run_job(gateway: GatewayClient, model: str, version: str | None, body: Body, timeout_s: float) -> Document:
    """The job once it has ended."""
    path = f"/v1/models/{model}/versions/{version}/jobs" if version else f"/v1/models/{model}/jobs"
    headers = {
        "content-type": body.content_type,
        "idempotency-key": f"run-{uuid.uuid4().hex}",
        "prefer": f"wait={WAIT_S}",
    }
    if body.json_length is not None:
        headers["inference-header-content-length"] = str(body.json_length)
    waiting = patience()

    async def attempt() -> bytes:
        params = {"timeout_s": f"{timeout_s:g}"}
        answer = await gateway.exchange("POST", path, headers=headers, params=params, body=body.content)
        job = read_job(answer)
        return answer.content if job.status in TERMINAL else (await job_once_ended(gateway, job.id, waiting)).content

    return document(await waiting.until_done(attempt), Job)
