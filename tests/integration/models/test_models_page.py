"""docs/models.md: whoever follows its part on scikit-learn has models that are served and answer alike."""

from pathlib import Path

import numpy as np
import pytest

from tests.integration.models.needs import need
from tests.unit.docs.walks import walk
from workers.inference.models.repository import ModelRepository

for module in ("joblib", "onnxruntime", "pandas", "skl2onnx", "sklearn"):
    need(module)

from workers.inference.backends import load_backend  # noqa: E402 - after the checks above

PAGE = Path(__file__).parents[3] / "docs" / "models.md"

pytestmark = pytest.mark.timeout(900)  # two programs import scikit-learn, and one converts


def test_an_estimator_is_served_as_a_graph_and_as_it_is(tmp_path: Path) -> None:
    walk(PAGE, tmp_path)
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]], np.float32)
    scanned = ModelRepository(tmp_path / "models", trust="code").scan()
    served = {version.model: load_backend(version, "cpu") for version in scanned}
    one, other = (served[name].run({"features": rows}) for name in ("iris", "iris-joblib"))
    assert one["label"].tolist() == other["label"].tolist() == [0, 2]
    np.testing.assert_allclose(one["probabilities"], other["probabilities"], rtol=1e-4)

    columns = {"city": np.array([b"Rome", b"Nowhere"], object), "area": np.array([np.nan, 70], np.float32)}
    assert np.isfinite(served["flats"].run(columns)["price"]).all()
