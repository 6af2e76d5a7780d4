"""`penstock export`: a model that is code becomes one that is data, in a model repository."""

import tempfile
from pathlib import Path

import click

from penstock.exporting.sklearn import INPUT, Graph, columns_of, data_type, load_estimator, read_sample, to_graph
from penstock.importing.command import REPOSITORY
from penstock.importing.model_folder import ModelFolder, model_name, put_into
from penstock.parameters import VERSION
from penstock.plain import printable
from schemas.errors import ConfigurationError
from workers.inference.models.labels import labels_text

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
LABELS = "labels.txt"


@click.group()
def export() -> None:
    """Turn models that are code into models that are data."""


@export.command()
@click.argument("model", type=FILE)
@click.argument("repository", type=REPOSITORY)
@click.option("--name", required=True, help="What to call the model.")
@click.option("--version", type=VERSION, default="1", show_default=True, help="The version it becomes.")
@click.option("--max-batch-size", default=256, show_default=True, type=click.IntRange(1), help="Rows in a micro-batch.")
@click.option("--sample", type=FILE, help="A .npy file of rows to compare the two on, instead of random ones.")
@click.option("--trust", is_flag=True, help="Load MODEL, which runs whatever code it holds.")
def sklearn(
    model: Path, repository: Path, name: str, version: str, max_batch_size: int, sample: Path | None, trust: bool
) -> None:
    """Convert MODEL, an estimator of scikit-learn that joblib wrote, to ONNX, and put it into REPOSITORY.

    It is kept only if the graph answers as the estimator does.

    \b
    Examples:
      penstock export sklearn model.joblib models --name iris --trust
    """
    if not trust:
        raise click.UsageError(f"loading {model} runs whatever code it holds: say --trust if you know where it is from")
    try:
        estimator = load_estimator(model)
        rows = None if sample is None else read_sample(sample, columns_of(estimator))
        graph = to_graph(estimator, rows)
        with tempfile.TemporaryDirectory() as aside:
            folder = _folder(graph, Path(aside), model_name(name, name, []), version, max_batch_size)
            target = put_into(repository, folder, origin=f"{model.name} of scikit-learn")
    except ConfigurationError as error:
        raise click.ClickException(error.message) from error
    for note in folder.notes:
        click.echo(f"  {printable(note)}", err=True)
    count = len(next(iter(graph.outputs.values())))
    click.echo(f"  {count} {'sample' if sample else 'random'} rows answered alike", err=True)
    click.echo(target)


def _folder(graph: Graph, aside: Path, name: str, version: str, max_batch_size: int) -> ModelFolder:
    files = {f"{version}/model.onnx": aside / "model.onnx"}
    (aside / "model.onnx").write_bytes(graph.onnx)
    outputs = [
        {"name": output, "data_type": data_type(rows), "dims": list(rows.shape[1:])}
        for output, rows in graph.outputs.items()
    ]
    notes, texts = [], {}
    for output in outputs:
        # Scores have a column a class, unless there are two and one column for both.
        if str(output["data_type"]).startswith("TYPE_FP") and output["dims"] == [len(graph.classes)]:
            labels = labels_text(graph.classes)
            if labels is None:
                notes.append(f"{output['name']}: without labels: the classes' names cannot stand in a line each")
                continue
            output["label_filename"] = LABELS
            texts[LABELS] = labels
    fields = {
        "name": name,
        "platform": "onnxruntime_onnx",
        "max_batch_size": max_batch_size,
        "input": [{"name": INPUT, "data_type": "TYPE_FP32", "dims": [graph.columns]}],
        "output": outputs,
        **({"features": list(graph.features)} if graph.features else {}),
    }
    return ModelFolder(fields, aside, files, notes, texts)
