"""`penstock models check`: would a worker serve these models? Without a stack."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from penstock.models.checking import LIMIT_S, Verdict, check_models, folders_without_model
from penstock.plain import printable
from runtime.logs import configure_logs
from runtime.settings import LogSettings
from schemas.errors import ConfigurationError
from schemas.names import is_version
from schemas.signature import TensorSpec
from workers.inference.backends.device import claim_device
from workers.inference.backends.threads import bound_pools, usable_cores
from workers.inference.models.platforms import Trust
from workers.inference.models.repository import ModelRepository


@click.command()
@click.argument(
    "directory", envvar="PENSTOCK_MODEL_REPOSITORY", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--trust",
    type=click.Choice(["data", "code"], case_sensitive=False),
    envvar="PENSTOCK_WORKER_TRUST",
    default="data",
    show_default=True,
    help="`code` also runs what models bring as code, as a worker that may.",
)
@click.option("--device", envvar="PENSTOCK_WORKER_DEVICE", default="cpu", show_default=True, help="To load them on.")
@click.option(
    "--timeout",
    "limit_s",
    type=click.FloatRange(min=0, min_open=True),
    default=LIMIT_S,
    show_default=True,
    help="Seconds that loading and warming up one version may take.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("-v", "--verbose", is_flag=True, help="Also a worker's log: what models print, and where they crash.")
def check(directory: Path, trust: Trust, device: str, limit_s: float, *, as_json: bool, verbose: bool) -> None:
    """Check whether a worker would serve the models in DIRECTORY.

    DIRECTORY is a model repository, the folder of one model, or that of one version. Each version is read, held against
    its pins, loaded, warmed up and asked its reference rows, as a worker does it, in a process of its own. No stack is
    needed, and nothing is changed.

    \b
    Exits with 0 if every version can be served, with 1 if one cannot.
    Reads PENSTOCK_MODEL_REPOSITORY, PENSTOCK_WORKER_TRUST and
    PENSTOCK_WORKER_DEVICE, as a worker does.

    \b
    Examples:
      penstock models check models
      penstock models check models/fraud --trust code
    """
    repository, pattern = _meant(directory.absolute(), directory)
    verdicts = []
    try:
        with _as_in_a_worker(device, verbose=verbose) as claimed:
            for verdict in check_models(ModelRepository(repository, trust=trust), [pattern], claimed, limit_s):
                verdicts.append(verdict)
                click.echo(json.dumps(_as_object(verdict)) if as_json else _as_line(verdict))
    except ConfigurationError as error:
        raise click.ClickException(error.message) from error
    passed_over = folders_without_model(repository) if pattern == "*" else []
    for folder in passed_over:
        click.echo(f"{folder}: has no model.yaml, so it is passed over", err=True)
    if not verdicts:
        raise click.ClickException(f"{directory}: holds no model: {directory}/<model>/model.yaml would be one")
    served = sum(verdict.refused is None for verdict in verdicts)
    if not as_json:
        click.echo(f"{served} of {len(verdicts)} can be served", err=True)
    raise SystemExit(0 if served == len(verdicts) else 1)


def _meant(directory: Path, said: Path) -> tuple[Path, str]:
    """The repository that `directory` is, or lies in, and which versions of it are meant."""
    if (directory / "model.yaml").is_file():
        return said.parent if said.name else directory.parent, directory.name
    if is_version(directory.name) and (directory.parent / "model.yaml").is_file():
        return directory.parent.parent, f"{directory.parent.name}/{directory.name}"
    return said, "*"


@contextmanager
def _as_in_a_worker(device: str, *, verbose: bool) -> Iterator[str]:
    """The device as runtimes are to be asked for it. Processes that are started inherit what a worker's would."""
    before = dict(os.environ)
    try:
        os.environ.update(PENSTOCK_LOG_LEVEL="info" if verbose else "error", PENSTOCK_LOG_FORMAT="console")
        configure_logs(LogSettings(), "check")
        if not verbose:
            logging.getLogger().setLevel(logging.CRITICAL)  # what it would say is the verdict's reason
        claimed = claim_device(device, os.environ)
        bound_pools(os.environ, usable_cores())
        yield claimed
    finally:
        os.environ.clear()
        os.environ.update(before)


def _as_line(verdict: Verdict) -> str:
    if verdict.refused is not None:
        return f"{click.style(verdict.name, fg='red')}: not served: {printable(verdict.refused)}"
    assert verdict.served is not None  # noqa: S101 - what is not refused was read
    signature = verdict.served.signature
    told = f"{', '.join(map(_tensor, signature.inputs))} -> {', '.join(map(_tensor, signature.outputs))}"
    line = f"{click.style(verdict.name, fg='green')}: served by {verdict.served.platform}: {told}"
    return "\n  ".join([line, *(f"but {printable(doubt)}" for doubt in verdict.doubts)])


def _tensor(spec: TensorSpec) -> str:
    return f"{printable(spec.name)} {spec.datatype} {list(spec.shape)}"


def _as_object(verdict: Verdict) -> dict[str, Any]:
    served = verdict.served
    return {
        "model": verdict.model,
        "version": verdict.version,
        "state": "served" if verdict.refused is None else "refused",
        "reason": verdict.refused,
        "doubts": list(verdict.doubts),
        "platform": served and served.platform,
        "default": served and served.is_default,
        "load_s": round(verdict.load_s, 3),
        "inputs": served and [_as_tensor(spec) for spec in served.signature.inputs],
        "outputs": served and [_as_tensor(spec) for spec in served.signature.outputs],
    }


def _as_tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
