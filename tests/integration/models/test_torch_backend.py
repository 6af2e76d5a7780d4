"""Safetensors weights are loaded into a registered architecture, strictly, and run by torch."""

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigurationError, JobError
from tests.integration.models.digits import TORCH, altered, held_out, load, version_of
from tests.integration.models.needs import need
from workers.inference.backends import load_backend

need("torch")
need("safetensors")

import torch  # noqa: E402 - after the checks above
from safetensors.torch import load_file, save_file  # noqa: E402

from workers.inference.backends.architectures.bert import Bert  # noqa: E402
from workers.inference.backends.architectures.bert import build as build_bert  # noqa: E402
from workers.inference.backends.architectures.sequential import build as build_sequential  # noqa: E402

BERT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
}


def with_torch(root: Path, **changes: Any) -> Path:
    """A copy of digits whose `parameters.torch` has these changes."""
    return altered(root, "2", lambda fields: fields["parameters"]["torch"].update(changes))


def with_weights(root: Path, weights: Mapping[str, torch.Tensor], **changes: Any) -> Path:
    repository = with_torch(root, **changes)
    save_file(dict(weights), repository / "digits" / "2" / "model.safetensors")
    return repository


def committed_weights() -> dict[str, torch.Tensor]:
    return dict(load_file(version_of("digits/2", TORCH).file))


def refused(repository: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load("digits/2", TORCH, repository)
    assert "\n" not in caught.value.message
    return caught.value.message


class TestWeights:
    def test_a_weight_that_is_missing_is_named(self, tmp_path: Path) -> None:
        weights = committed_weights()
        del weights["layers.12.bias"]
        message = refused(with_weights(tmp_path, weights))
        assert "model.safetensors: does not fit the architecture 'sequential': " in message
        assert 'Missing key(s) in state_dict: "layers.12.bias"' in message

    def test_a_weight_that_has_no_place_is_named(self, tmp_path: Path) -> None:
        message = refused(with_weights(tmp_path, {**committed_weights(), "head.extra": torch.zeros(1)}))
        assert 'Unexpected key(s) in state_dict: "head.extra"' in message

    def test_a_weight_that_has_no_place_may_be_called_unused(self, tmp_path: Path) -> None:
        weights = {**committed_weights(), "head.extra": torch.zeros(1)}
        backend = load("digits/2", TORCH, with_weights(tmp_path, weights, unused_weights=["head.*"]))
        assert backend.run(held_out().inputs)["label"].shape == (360,)

    def test_a_weight_of_another_shape_is_named(self, tmp_path: Path) -> None:
        message = refused(with_weights(tmp_path, {**committed_weights(), "layers.12.bias": torch.zeros(11)}))
        assert "size mismatch for layers.12.bias" in message

    def test_a_pickle_is_never_opened(self, tmp_path: Path) -> None:
        repository = with_torch(tmp_path)
        traces = tmp_path / "traces"

        class Trap:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (traces,)

        (repository / "digits" / "2" / "model.safetensors").write_bytes(pickle.dumps(Trap()))
        assert "model.safetensors: is not a safetensors file: " in refused(repository)
        assert not traces.exists()


class TestArchitectures:
    @pytest.mark.parametrize(
        ("changes", "mistake"),
        [
            ({"architecture": "resnet"}, "parameters.torch.architecture: 'resnet' is none of bert, sequential"),
            ({"config": {}}, "parameters.torch.config: outputs: is missing"),
            ({"config": {"layers": [], "outputs": {}, "x": 1}}, "parameters.torch.config: outputs: "),
            ({"config": {"layers": [], "outputs": {}, "x": 1}}, "; x: unknown key"),
            (
                {"config": {"layers": [{"type": "relu"}, {"type": "exec"}], "outputs": {"label": []}}},
                "layers[1].type: 'exec' is none of adaptive_avg_pool2d, argmax, ",
            ),
            (
                {"config": {"outputs": {"label": [{"type": "linear", "in_features": 3}]}}},
                "outputs.label[0]: linear cannot be built with {'in_features': 3}: ",
            ),
            ({"architecture": "bert", "config": {**BERT, "hidden": 3}}, "parameters.torch.config: hidden: unknown key"),
            (
                {"architecture": "bert", "config": {**BERT, "num_attention_heads": 3}},
                "hidden_size 16 is not a multiple of num_attention_heads 3",
            ),
        ],
    )
    def test_one_that_cannot_be_built_is_told_with_its_field(
        self, tmp_path: Path, changes: dict[str, Any], mistake: str
    ) -> None:
        repository = with_torch(tmp_path, **changes)
        message = refused(repository)
        assert message.startswith(f"{repository / 'digits' / 'model.yaml'}: ")
        assert mistake in message

    def test_an_installed_package_can_bring_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(
            tmp_path / "site",
            monkeypatch,
            "import torch\n"
            "class Darkest(torch.nn.Module):\n"
            "    def __init__(self, config):\n"
            "        super().__init__()\n"
            "        self.offset = config['offset']\n"
            "    def forward(self, image):\n"
            "        return image.flatten(1).argmax(1) + self.offset\n"
            "build = Darkest\n",
        )
        rows = held_out()
        outputs = load("digits/2", TORCH, with_site_network(tmp_path, {"offset": 100}, outputs=1)).run(rows.inputs)
        assert list(outputs) == ["label"]
        np.testing.assert_array_equal(outputs["label"], rows.images.reshape(360, -1).argmax(1) + 100)

    def test_one_that_does_not_name_its_outputs_fails_the_job(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install(
            tmp_path / "site",
            monkeypatch,
            "import torch\n"
            "class Pair(torch.nn.Module):\n"
            "    def forward(self, image):\n"
            "        return image, image\n"
            "def build(config):\n"
            "    return Pair()\n",
        )
        backend = load("digits/2", TORCH, with_site_network(tmp_path, {}, outputs=2))
        with pytest.raises(JobError, match="the architecture returned tuple, not its outputs by name"):
            backend.run(held_out().inputs)


def install(site: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Install a package of one module, which registers its `build` as the architecture `site-network`."""
    metadata = site / "site_network-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: site-network\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[penstock.architectures]\nsite-network = site_network:build\n")
    (site / "site_network.py").write_text(source)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "site_network", raising=False)


def with_site_network(root: Path, config: dict[str, Any], *, outputs: int) -> Path:
    """A copy of digits that asks for that architecture, has no weights, and declares the first `outputs` outputs."""

    def change(fields: dict[str, Any]) -> None:
        fields["parameters"]["torch"] = {"architecture": "site-network", "config": config}
        del fields["output"][outputs:]

    repository = altered(root, "2", change)
    save_file({}, repository / "digits" / "2" / "model.safetensors")
    return repository


class TestBert:
    @pytest.fixture
    def network(self) -> Bert:
        torch.manual_seed(0)
        return build_bert(BERT).eval()

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
        network = build_bert({**BERT, "pooling": "cls", "normalize": False}).eval()
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


class TestRunning:
    def test_read_only_views_will_do(self) -> None:
        backend, rows = load("digits/2", TORCH), held_out()
        expected = backend.run(rows.inputs)["label"]
        received = np.frombuffer(rows.inputs["image"].tobytes(), dtype="<f4").reshape(-1, 8, 8)
        np.testing.assert_array_equal(backend.run({"image": received})["label"], expected)

    def test_each_model_runs_on_its_own_number_of_threads(self, tmp_path: Path) -> None:
        rows = held_out().inputs
        small, wide = load("digits/2", TORCH), load("digits/2", TORCH, with_torch(tmp_path, threads=2))
        wide.run(rows)
        assert torch.get_num_threads() == 2
        small.run(rows)
        assert torch.get_num_threads() == 1

    def test_inputs_that_the_network_cannot_take_fail_the_job(self) -> None:
        with pytest.raises(JobError, match=r"digits/2 failed on this input \(RuntimeError\)"):
            load("digits/2", TORCH).run({"image": np.zeros((1, 3), np.float32)})

    def test_dropout_is_off(self) -> None:
        backend, rows = load("digits/2", TORCH), held_out().inputs
        np.testing.assert_array_equal(backend.run(rows)["probabilities"], backend.run(rows)["probabilities"])

    def test_text_without_a_tokenizer_is_refused(self, tmp_path: Path) -> None:
        def take_text(fields: dict[str, Any]) -> None:
            del fields["image"]
            fields["input"] = [{"name": "text", "data_type": "TYPE_STRING", "dims": []}]

        with pytest.raises(ConfigurationError, match="input 'text' is TYPE_STRING, which torch cannot take"):
            load("digits/2", TORCH, altered(tmp_path, "2", take_text))

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
    def test_a_gpu_that_is_asked_for_must_be_there(self) -> None:
        version = version_of("digits/2", TORCH)
        with pytest.raises(ConfigurationError, match="device cuda was asked for, and torch finds 0 GPUs"):
            load_backend(version, "cuda")
        assert load_backend(version, "auto").run(held_out().inputs)["label"].shape == (360,)


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
