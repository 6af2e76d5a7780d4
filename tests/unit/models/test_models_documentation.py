"""docs/models.md: its examples load, and it speaks of every field there is."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

from tests.unit.models.repositories import installed, write_model
from workers.inference.models import batching_config, model_config, model_parameters, tensor_config
from workers.inference.models.data_types import DATATYPES
from workers.inference.models.model_file import read_model_file
from workers.inference.models.platforms import PLATFORMS
from workers.inference.models.repository import ModelRepository

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = (ROOT / "docs" / "models.md").read_text()
EXAMPLES: Final = list(map(dedent, re.findall(r"```yaml\n(.*?)\n *```", PAGE, re.DOTALL)))


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_model_yaml_on_the_page_can_be_served(tmp_path: Path, example: str) -> None:
    name = re.findall(r"name: (\S+)", example)[0]
    code = "trust: code" in example
    if code:  # the page has it pinned by a command
        example += f"\nsha256: {{model.joblib: {'a' * 64}}}"
    write_model(tmp_path, example, name=name, versions=("1", "2"), filename="model.joblib" if code else "model.onnx")
    survey = ModelRepository(tmp_path, installed("onnxruntime", "sklearn", "joblib"), trust="code").survey()
    assert [version.name for version in survey.versions] == [f"{name}/1", f"{name}/2"]


@pytest.mark.parametrize(
    "name",
    [
        *PLATFORMS,
        *DATATYPES,
        *model_config.VersionConfig.model_fields,
        *tensor_config.InputConfig.model_fields,
        *tensor_config.OutputConfig.model_fields,
        *batching_config.DynamicBatching.model_fields,
        *batching_config.ElementsOf.model_fields,
        *batching_config.PaddingConfig.model_fields,
        *batching_config.PaddedInputConfig.model_fields,
        *model_config.Warmup.model_fields,
        *model_parameters.Parameters.model_fields,
        *model_parameters.OnnxruntimeParameters.model_fields,
        *model_parameters.TorchParameters.model_fields,
        *model_parameters.TokenizerParameters.model_fields,
        *model_config.ImageConfig.model_fields,
        "default_version",
        "versions",
    ],
)
def test_the_page_speaks_of_every_field_and_word(name: str) -> None:
    assert re.search(rf"`[^`]*\b{name}\b[^`]*`", PAGE)


@pytest.mark.parametrize("file", ["examples/models/digits/model.yaml", "examples/minilm/model.yaml"])
def test_the_examples_are_sound(file: str) -> None:
    for version in ("1", "2"):
        assert read_model_file(ROOT / file).version(version).model_warmup
