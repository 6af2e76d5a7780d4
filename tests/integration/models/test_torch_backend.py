"""Safetensors weights are loaded into a registered architecture, strictly, and run by torch."""

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigurationError, JobError, OutputInvalid
from tests.integration.models.digits import TORCH, altered, held_out, load, version_of
from tests.integration.models.needs import need
from tests.integration.models.networks import TINY_BERT
from workers.inference.backends import load_backend

need("torch")
need("safetensors")

import torch  # noqa: E402 - after the checks above
from safetensors.torch import load_file, save_file  # noqa: E402


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
            (
                {"architecture": "bert", "config": {**TINY_BERT, "hidden": 3}},
                "parameters.torch.config: hidden: unknown key",
            ),
            (
                {"architecture": "bert", "config": {**TINY_BERT, "num_attention_heads": 3}},
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

    def test_outputs_that_are_not_declared_may_be_anything(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install(
            tmp_path / "site",
            monkeypatch,
            "import torch\n"
            "class Talkative(torch.nn.Module):\n"
            "    def forward(self, image):\n"
            "        return {'hidden_states': (image, image), 'label': image.flatten(1).argmax(1)}\n"
            "def build(config):\n"
            "    return Talkative()\n",
        )
        backend = load("digits/2", TORCH, with_site_network(tmp_path, {}, outputs=1))
        assert list(backend.run(held_out().inputs)) == ["label"]

    def test_a_declared_output_that_is_no_tensor_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install(
            tmp_path / "site",
            monkeypatch,
            "import torch\n"
            "class Tuples(torch.nn.Module):\n"
            "    def forward(self, image):\n"
            "        return {'label': (image, image)}\n"
            "def build(config):\n"
            "    return Tuples()\n",
        )
        backend = load("digits/2", TORCH, with_site_network(tmp_path, {}, outputs=1))
        with pytest.raises(OutputInvalid, match="output 'label' is tuple, not a tensor"):
            backend.run(held_out().inputs)

    def test_an_answer_is_not_the_networks_own_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(
            tmp_path / "site",
            monkeypatch,
            "import torch\n"
            "class Keeping(torch.nn.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.register_buffer('last', torch.zeros(64, dtype=torch.int64))\n"
            "    def forward(self, image):\n"
            "        self.last[:len(image)] = image.flatten(1).argmax(1)\n"
            "        return self.last[:len(image)]\n"
            "def build(config):\n"
            "    return Keeping()\n",
        )
        repository = with_site_network(tmp_path, {}, outputs=1)
        save_file({"last": torch.zeros(64, dtype=torch.int64)}, repository / "digits" / "2" / "model.safetensors")
        backend, image = load("digits/2", TORCH, repository), held_out().inputs["image"]
        first = backend.run({"image": image[:64]})["label"]
        kept = first.copy()
        backend.run({"image": image[64:128]})
        np.testing.assert_array_equal(first, kept)


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
