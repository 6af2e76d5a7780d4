"""`penstock import`: models of other servers into a model repository."""

from pathlib import Path

import click

from penstock.importing.huggingface import read_huggingface
from penstock.importing.mlflow import read_mlflow
from penstock.importing.model_folder import ModelFolder, put_into
from penstock.importing.triton import read_triton
from penstock.parameters import VERSION
from penstock.plain import printable
from schemas.errors import ConfigurationError

DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
REPOSITORY = click.Path(file_okay=False, path_type=Path)

link = click.option("--link", is_flag=True, help="Link files instead of copying them, where the file system can.")
becomes = click.option("--version", type=VERSION, default="1", show_default=True, help="The version it becomes.")
at_most = click.option(
    "--max-batch-size", default=64, show_default=True, type=click.IntRange(1), help="Rows in a micro-batch."
)
called = click.option("--name", help="What to call the model, if not by its own name.")


@click.group(name="import")
def import_() -> None:
    """Bring models of other servers into a model repository."""


@import_.command()
@click.argument("model", type=DIRECTORY)
@click.argument("repository", type=REPOSITORY)
@called
@click.option("--max-batch-size", type=click.IntRange(1), help="For a model that says 0, though its tensors have rows.")
@link
def triton(model: Path, repository: Path, name: str | None, max_batch_size: int | None, link: bool) -> None:
    """Read MODEL, a model's folder of Triton Inference Server, into REPOSITORY.

    ONNX models are taken, with all their versions. What config.pbtxt says besides, and does not come along, is told.

    \b
    Examples:
      penstock import triton model_repository/resnet models
    """
    try:
        put(repository, read_triton(model, name, max_batch_size), origin="Triton's config.pbtxt", link=link)
    except ConfigurationError as error:
        raise click.ClickException(error.message) from error


@import_.command()
@click.argument("model", type=DIRECTORY)
@click.argument("repository", type=REPOSITORY)
@called
@becomes
@at_most
@link
def mlflow(model: Path, repository: Path, name: str | None, version: str, max_batch_size: int, link: bool) -> None:
    """Read MODEL, a folder that MLflow saved a model in, into REPOSITORY.

    The flavors onnx and sklearn are taken as they are; any other is run by MLflow, which must be installed with the
    worker. What is no graph runs code when it is loaded: the model says so with `trust: code` and pins its files, and
    only workers that trust code serve it.

    \b
    Examples:
      penstock import mlflow mlruns/0/models/m-1/artifacts models --name churn
    """
    try:
        put(repository, read_mlflow(model, name, version, max_batch_size), origin="MLflow's MLmodel", link=link)
    except ConfigurationError as error:
        raise click.ClickException(error.message) from error


@import_.command()
@click.argument("model", type=DIRECTORY)
@click.argument("repository", type=REPOSITORY)
@called
@becomes
@at_most
@link
def huggingface(model: Path, repository: Path, name: str | None, version: str, max_batch_size: int, link: bool) -> None:
    """Read MODEL, a folder that transformers saved a model of texts in, into REPOSITORY.

    An ONNX graph in it is taken, with tokenizer and labels; else the weights of a BertModel, as sentence-transformers
    uses them: a vector a text. Nothing in the folder is run.

    \b
    Examples:
      penstock import huggingface my-classifier models --name reviews
    """
    try:
        put(
            repository, read_huggingface(model, name, version, max_batch_size), origin="Hugging Face's files", link=link
        )
    except ConfigurationError as error:
        raise click.ClickException(error.message) from error


def put(repository: Path, folder: ModelFolder, *, origin: str, link: bool) -> None:
    """Put `folder` into `repository`, and tell where it is and what did not come along."""
    target = put_into(repository, folder, origin=origin, link=link)
    for note in folder.notes:
        click.echo(f"  {printable(note)}", err=True)
    click.echo(target)
