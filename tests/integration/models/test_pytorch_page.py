"""docs/pytorch.md: whoever follows it has three models that a worker serves, and that answer alike."""

from pathlib import Path

import numpy as np
import pytest

from tests.integration.models.needs import need
from tests.unit.docs.walks import blocks_in, steps_of, walk
from workers.inference.models.repository import ModelRepository

for module in ("onnx", "onnxruntime", "onnxscript", "safetensors", "torch"):
    need(module)

from workers.inference.backends import load_backend  # noqa: E402 - after the checks above

PAGE = Path(__file__).parents[3] / "docs" / "pytorch.md"

pytestmark = pytest.mark.timeout(900)  # four programs import torch, and one of them exports


def test_the_page_leads_to_three_models_that_answer_alike(tmp_path: Path) -> None:
    assert blocks_in(PAGE) == len(steps_of(PAGE))
    walk(PAGE, tmp_path)

    rows = np.array([[12.5, 0.3, 7], [0.1, 2, 3]], np.float32)
    answers = {}
    for version in ModelRepository(tmp_path / "models", trust="code").scan():
        backend = load_backend(version, "cpu")
        answers[version.model] = backend.run({"x": rows})["score"]
        backend.close()
    assert answers.keys() == {"fraud", "fraud-handler", "fraud-layers"}
    for answer in answers.values():
        np.testing.assert_allclose(answer, answers["fraud"], rtol=1e-5)
