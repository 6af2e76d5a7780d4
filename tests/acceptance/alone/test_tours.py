"""docs/tutorial.md and docs/python.md, followed from top to bottom beside a running stack."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from shutil import copyfile

import httpx
import onnx
import pytest
from anyio.from_thread import BlockingPortal
from click.testing import CliRunner
from onnx import helper

from penstock.cli import main
from penstock.init.examples import FILES
from penstock.stack import Stack
from tests.acceptance.client import NO_AUTHORITIES
from tests.acceptance.opening import heard, opened
from tests.programs import program
from tests.unit.docs.walks import blocks_in, steps_of, walk
from tests.waiting import eventually_sync

DOCS = Path(__file__).parents[3] / "docs"
NOT_RUN = 3  # what installs, starts the stack, or needs transformers

pytestmark = pytest.mark.timeout(900)  # programs that import torch and scikit-learn, one after the other


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tour")
    (folder / "models").mkdir()
    return folder


@pytest.fixture(scope="module")
def stack(portal: BlockingPortal, folder: Path) -> Iterator[Stack]:
    """As the reader starts it: over a folder of models in which nothing is yet."""
    whole = heard(models=folder / "models", feeders=1, environ=os.environ)
    with portal.wrap_async_context_manager(opened(whole)):
        yield whole


@pytest.fixture
def follow(stack: Stack, folder: Path) -> Callable[[str], None]:
    """A page is followed as it stands, but for the address; models that are there are served before anything is run."""

    def all_served(commands: str) -> None:
        if "penstock models" in commands:  # of files, with no worker
            return
        for model in sorted(path.parent.name for path in folder.glob("models/*/model.yaml")):
            url = f"{stack.gateway_url}/v1/models/{model}"
            eventually_sync(partial(is_served, url), 60, f"{url} is served")

    def followed(page: str) -> None:
        environ = {
            "PENSTOCK_GATEWAY_URL": stack.gateway_url,
            "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
            "CGO_ENABLED": "0",  # compiles less
            "GOCACHE": os.environ.get("GOCACHE") or str(Path.home() / ".cache" / "go-build"),
        }
        replaced = {"http://localhost:8080": stack.gateway_url}
        walk(DOCS / page, folder, replaced=replaced, environ=environ, before=all_served)

    return followed


def is_served(url: str) -> bool:
    """Whether a version of the model is served."""
    return '"serving"' in httpx.get(url, verify=NO_AUTHORITIES).text


def write_classifier(folder: Path) -> None:
    """As transformers and optimum leave it: the graph of `reviews`, its scores called logits."""
    (folder / "onnx").mkdir(parents=True)
    copyfile(FILES / "reviews" / "tokenizer.json", folder / "tokenizer.json")
    names = {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}
    config = {"model_type": "distilbert", "architectures": ["DistilBertForSequenceClassification"], **names}
    (folder / "config.json").write_text(json.dumps(config))
    graph = onnx.load(FILES / "reviews" / "1" / "model.onnx")
    for node in graph.graph.node:
        for places in (node.input, node.output):
            places[:] = ["logits" if place == "scores" else place for place in places]
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["rows", 2]))
    onnx.save(graph, folder / "onnx" / "model.onnx")


def test_the_tutorial_leads_from_three_files_to_three_answers(follow: Callable[[str], None], folder: Path) -> None:
    page = DOCS / "tutorial.md"
    assert blocks_in(page) == len(steps_of(page)) + NOT_RUN
    write_classifier(folder / "my-classifier")
    follow("tutorial.md")


def test_every_way_from_python_leads_to_answers(follow: Callable[[str], None], folder: Path) -> None:
    page = DOCS / "python.md"
    assert blocks_in(page) == len(steps_of(page))
    CliRunner().invoke(main, ["init", str(folder / "models")])
    follow("python.md")


@pytest.mark.parametrize(("page", "steps", "languages"), [("batches.md", 4, ()), ("client.md", 8, ("node", "go"))])
def test_what_a_page_about_a_part_has_to_run_is_answered(
    follow: Callable[[str], None], folder: Path, page: str, steps: int, languages: Sequence[str]
) -> None:
    assert len(steps_of(DOCS / page)) == steps
    for language in languages:
        program(language)
    if not (folder / "models" / "iris").exists():
        CliRunner().invoke(main, ["init", str(folder / "models")])
    follow(page)
