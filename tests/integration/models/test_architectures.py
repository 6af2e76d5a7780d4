"""The networks that weights are loaded into."""

import pytest

from tests.integration.models.needs import need
from tests.integration.models.networks import TINY_BERT

need("torch")

import torch  # noqa: E402 - after the check above

from workers.inference.backends.architectures.bert import Bert  # noqa: E402
from workers.inference.backends.architectures.bert import build as build_bert  # noqa: E402
from workers.inference.backends.architectures.sequential import build as build_sequential  # noqa: E402


class TestBert:
    @pytest.fixture
    def network(self) -> Bert:
        torch.manual_seed(0)
        return build_bert(TINY_BERT).eval()

    def test_padding_changes_nothing(self, network: Bert) -> None:
        ids = torch.randint(0, 50, (1, 6))
        padded = torch.cat([ids, torch.full((1, 5), 7)], dim=1)
        mask = torch.tensor([[1] * 6 + [0] * 5])
        with torch.inference_mode():
            torch.testing.assert_close(network(padded, mask), network(ids, torch.ones(1, 6, dtype=torch.int64)))

    def test_vectors_have_length_one_where_they_are_normalized(self, network: Bert) -> None:
        ids = torch.randint(0, 50, (3, 6))
        with torch.inference_mode():
            vectors = network(ids, torch.ones_like(ids))
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))

    def test_the_first_token_can_stand_for_the_text(self) -> None:
        torch.manual_seed(0)
        network = build_bert({**TINY_BERT, "pooling": "cls", "normalize": False}).eval()
        ids = torch.randint(0, 50, (1, 6))
        seen = []
        network.encoder["layer"][-1].register_forward_hook(lambda *call: seen.append(call[2]))  # type: ignore[index]
        with torch.inference_mode():
            vector = network(ids, torch.ones_like(ids))
        torch.testing.assert_close(vector, seen[0][:, 0])

    def test_its_weights_have_the_names_of_published_checkpoints(self, network: Bert) -> None:
        names = set(network.state_dict())
        assert "embeddings.word_embeddings.weight" in names
        assert "embeddings.LayerNorm.bias" in names
        assert "encoder.layer.1.attention.self.query.weight" in names
        assert "encoder.layer.1.attention.output.LayerNorm.weight" in names
        assert "encoder.layer.1.intermediate.dense.bias" in names
        assert "encoder.layer.1.output.dense.weight" in names


def test_every_layer_of_sequential_can_be_built_and_run() -> None:
    network = build_sequential(
        {
            "layers": [
                {"type": "unsqueeze", "dim": 1},
                {"type": "scale", "factor": 2.0, "offset": -1.0},
                {"type": "conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": 3},
                {"type": "batch_norm2d", "num_features": 4},
                {"type": "gelu"},
                {"type": "avg_pool2d", "kernel_size": 2},
                {"type": "adaptive_avg_pool2d", "output_size": [2, 3]},
                {"type": "flatten", "start_dim": 2},
                {"type": "conv1d", "in_channels": 4, "out_channels": 4, "kernel_size": 1},
                {"type": "max_pool1d", "kernel_size": 2},
                {"type": "flatten"},
                {"type": "batch_norm1d", "num_features": 12},
                {"type": "layer_norm", "normalized_shape": 12},
                {"type": "tanh"},
            ],
            "outputs": {
                "vector": [],
                "score": [{"type": "linear", "in_features": 12, "out_features": 1}, {"type": "sigmoid"}],
            },
        }
    ).eval()
    with torch.inference_mode():
        outputs = network(image=torch.rand(5, 8, 8))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {"vector": (5, 12), "score": (5, 1)}
