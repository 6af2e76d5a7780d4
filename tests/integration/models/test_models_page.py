"""docs/models.md: whoever follows its part on scikit-learn has two models that are served, and that answer alike."""

from pathlib import Path

import numpy as np
import pytest

from tests.integration.models.needs import need
from tests.unit.docs.walks import walk
from workers.inference.models.repository import ModelRepository

for module in ("joblib", "onnxruntime", "skl2onnx", "sklearn"):
    need(module)

from workers.inference.backends import load_backend  # noqa: E402 - after the checks above

PAGE = Path(__file__).parents[3] / "docs" / "models.md"

pytestmark = pytest.mark.timeout(900)  # two programs import scikit-learn, and one converts


def test_an_estimator_is_served_as_a_graph_and_as_it_is(tmp_path: Path) -> None:
    walk(PAGE, tmp_path)
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]], np.float32)
    graph, pickled = (load_backend(each, "cpu") for each in ModelRepository(tmp_path / "models", trust="code").scan())
    one, other = graph.run({"features": rows}), pickled.run({"features": rows})
    assert one["label"].tolist() == other["label"].tolist() == [0, 2]
    np.testing.assert_allclose(one["probabilities"], other["probabilities"], rtol=1e-4)
