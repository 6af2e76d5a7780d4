"""`penstock init`: a model repository with an example that can be served at once."""

import shutil
from pathlib import Path

import click

from penstock.importing.model_folder import put_whole
from penstock.init.examples import BODY, EXAMPLES, FILES, Example, quoted, readme
from penstock.models.pinning import pinned_text
from runtime.extras import install_command
from schemas.errors import ConfigurationError
from workers.inference.models.platforms import is_installed


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path("models"))
@click.option(
    "--from",
    "kind",
    type=click.Choice(list(EXAMPLES)),
    default="onnx",
    show_default=True,
    help="What kind of model to start from.",
)
def init(directory: Path, kind: str) -> None:
    """Make a model repository with an example in it, or put an example into one that is there.

    DIRECTORY is `models` where none is given. The example is a small model that works, with a request for it and a
    README that tells how your own takes its place. Nothing that is there is overwritten.

    \b
    onnx     a graph: data, whatever trained it
    torch    weights as safetensors, layers in model.yaml
    sklearn  an estimator as joblib wrote it; needs scikit-learn here
    handler  Python code of your own
    text     a tokenizer and a graph

    Exits with 1 if a model of that name is there already.

    \b
    Examples:
      penstock init
      penstock init models --from text
    """
    example = EXAMPLES[kind]
    try:
        folder = put_whole(directory, example.model, lambda aside: _build(aside, example, directory))
    except ConfigurationError as error:
        raise click.ClickException(error.message) from error
    trust = " --trust code" if example.trusted else ""
    click.echo(f"{folder} is there: {folder / 'README.md'} tells how your own model takes its place\n")
    if example.module and example.extra and not is_installed(example.module):
        click.echo(f"It needs:  {install_command(example.extra)}")
    click.echo(f"Serve it:  penstock up --models {quoted(directory)}{trust}")
    click.echo(f"Ask it:    penstock run {example.model} {quoted(folder / BODY)}")


def _build(folder: Path, example: Example, repository: Path) -> None:
    shutil.copytree(FILES / example.model, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "1").mkdir(exist_ok=True)
    if example.extra == "sklearn":
        _fit(folder / "1" / "model.joblib")
    if example.trusted:
        (folder / "model.yaml").write_text(pinned_text(folder)[1], encoding="utf-8")
    (folder / "README.md").write_text(readme(example, repository), encoding="utf-8")


def _fit(file: Path) -> None:
    """Made here: a pickle is only sure to load in the release of scikit-learn that wrote it."""
    try:
        import joblib  # noqa: PLC0415 - only this example needs them
        from sklearn.datasets import load_iris  # noqa: PLC0415
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the example is made by scikit-learn, and {error.name} is not installed: {install_command('sklearn')}"
        ) from error
    flowers = load_iris()
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(flowers.data, flowers.target), file)
