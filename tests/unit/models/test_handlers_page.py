"""docs/handlers.md: its handler is the one in examples/, which runs; its other model.yaml is sound."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Final

import numpy as np
import pytest

from schemas.errors import ConfigurationError, InvalidInput
from workers.inference import handler
from workers.inference.backends import load_backend
from workers.inference.models.model_file import read_model_file
from workers.inference.models.repository import ModelRepository

ROOT: Final = Path(__file__).parents[3]
REPOSITORY: Final = ROOT / "examples" / "handlers"
PAGE: Final = (ROOT / "docs" / "handlers.md").read_text()


def blocks(language: str) -> list[str]:
    return [dedent(block) for block in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)]


def test_the_page_shows_the_files_of_the_example() -> None:
    assert blocks("python")[0] == (REPOSITORY / "sentiment" / "1" / "handler.py").read_text()
    assert blocks("yaml")[0] == (REPOSITORY / "sentiment" / "model.yaml").read_text()


def test_the_example_runs() -> None:
    (version,) = ModelRepository(REPOSITORY, trust="code").scan(["sentiment"])
    backend = load_backend(version, "cpu")
    try:
        texts = np.array([b"Good food, friendly people", b"Cold soup. Awful!", b""], dtype=object)
        outputs = backend.run({"text": texts})
        with pytest.raises(InvalidInput, match="a text has 501 words, more than 500"):
            backend.run({"text": np.array([b"good " * 501], dtype=object)})
    finally:
        backend.close()
    assert outputs["label"].tolist() == ["positive", "negative", "positive"]
    assert outputs["score"].tolist() == [2.0, -2.5, 0.0]


def test_a_worker_that_may_not_run_code_does_not_serve_the_example() -> None:
    with pytest.raises(ConfigurationError, match="python_handler runs the model's own code, and this worker may not"):
        ModelRepository(REPOSITORY).scan()


@pytest.mark.parametrize("example", blocks("yaml"))
def test_every_model_yaml_on_the_page_is_sound(tmp_path: Path, example: str) -> None:
    (tmp_path / "model.yaml").write_text(example)
    assert read_model_file(tmp_path / "model.yaml").version("1").trust == "code"


@pytest.mark.parametrize("name", handler.__all__)
def test_the_page_speaks_of_every_name_that_may_be_imported(name: str) -> None:
    assert f"`{name}`" in PAGE
