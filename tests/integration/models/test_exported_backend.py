"""Graphs that torch.export wrote answer like the network that they came from."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigurationError
from tests.integration.models.code import load_trusted, pinned
from tests.integration.models.digits import TORCH, held_out, load, version_of
from tests.integration.models.needs import need

need("torch")
need("safetensors")

import torch  # noqa: E402 - after the checks above
from safetensors.torch import load_file  # noqa: E402

from examples.digits.convolutional import as_exported  # noqa: E402
from workers.inference.backends.architectures.sequential import build  # noqa: E402
from workers.inference.backends.exported import ExportedModule  # noqa: E402
from workers.inference.backends.torch_module import TorchBackend  # noqa: E402
from workers.inference.backends.transfers import PlainTransfers  # noqa: E402

ROWS = torch.export.Dim("rows")


def exported(root: Path, module: torch.nn.Module, *args: Any, dynamic: Any = None, **kwargs: Any) -> Path:
    path = root / "model.pt2"
    torch.export.save(torch.export.export(module.eval(), args, kwargs, dynamic_shapes=dynamic), path)
    return path


@pytest.fixture
def network() -> torch.nn.Module:
    version = version_of("digits/2", TORCH)
    assert version.parameters.torch is not None
    net = build(version.parameters.torch.config)
    net.load_state_dict(load_file(version.file))
    return as_exported(net.eval())


class TestDigits:
    def test_the_exported_net_answers_like_the_net(self, tmp_path: Path, network: torch.nn.Module) -> None:
        file = exported(tmp_path, network, torch.zeros(2, 8, 8), dynamic=({0: ROWS},))
        backend = load_trusted(pinned(tmp_path, "torch_export", file))
        expected = load("digits/2", TORCH).run(held_out().inputs)
        outputs = backend.run(held_out().inputs)
        assert (outputs["label"] == expected["label"]).all()
        np.testing.assert_allclose(outputs["probabilities"], expected["probabilities"], atol=1e-5)
        assert backend.run({"image": held_out().inputs["image"][:1]})["label"].shape == (1,)

    def test_a_graph_for_one_number_of_rows_is_refused_where_others_may_run(
        self, tmp_path: Path, network: torch.nn.Module
    ) -> None:
        repository = pinned(tmp_path, "torch_export", exported(tmp_path, network, torch.zeros(2, 8, 8)))
        with pytest.raises(ConfigurationError) as caught:
            load_trusted(repository)
        assert caught.value.message == (
            f"{repository / 'digits' / '2' / 'model.pt2'}: model.yaml does not fit the graph: "
            "input 'image' was made for exactly 2 rows: make it for any number, or say so with max_batch_size: 2 and "
            "dynamic_batching.allowed_batch_sizes: [2]"
        )

    def test_a_graph_for_one_number_of_rows_is_served_where_only_that_runs(
        self, tmp_path: Path, network: torch.nn.Module
    ) -> None:
        file = exported(tmp_path, network, torch.zeros(2, 8, 8))
        batching = {"max_batch_size": 2, "dynamic_batching": {"allowed_batch_sizes": [2]}, "model_warmup": []}
        backend = load_trusted(pinned(tmp_path, "torch_export", file, **batching))
        image = held_out().inputs["image"][:2]
        expected = load("digits/2", TORCH).run({"image": image})
        assert (backend.run({"image": image})["label"] == expected["label"]).all()

    def test_closing_it_gives_its_weights_back_at_once(self, tmp_path: Path, network: torch.nn.Module) -> None:
        program = torch.export.export(network, (torch.zeros(2, 8, 8),), dynamic_shapes=({0: ROWS},))
        module = ExportedModule(program.module(), ["image"], ["label", "probabilities"])
        weights = [*module.parameters(), *module.buffers()]
        signature = version_of("digits/2", TORCH).signature
        cpu = torch.device("cpu")
        backend = TorchBackend(module, signature, cpu, PlainTransfers(cpu), threads=1)
        backend.run({"image": held_out().inputs["image"][:2]})
        assert sum(weight.numel() for weight in weights) > 10_000

        gc.disable()  # the module refers to itself
        try:
            backend.close()
            assert sum(weight.untyped_storage().nbytes() for weight in weights) == 0
        finally:
            gc.enable()


class Named(torch.nn.Module):
    def forward(self, image: torch.Tensor, *, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        scaled = image.flatten(1).sum(1) * scale
        return {"score": scaled, "label": scaled.to(torch.int64)}


SCALE = {"name": "scale", "data_type": "TYPE_FP32", "dims": []}
IMAGE = {"name": "image", "data_type": "TYPE_FP32", "dims": [8, 8]}
SCORE = {"name": "score", "data_type": "TYPE_FP32", "dims": []}
LABEL = {"name": "label", "data_type": "TYPE_INT64", "dims": []}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = {"image": {0: ROWS}, "scale": {0: ROWS}}
    folder = tmp_path_factory.mktemp("named")
    return exported(folder, Named(), torch.zeros(2, 8, 8), scale=torch.ones(2), dynamic=shapes)


class TestNames:
    def load(self, root: Path, file: Path, *inputs: dict[str, Any]) -> Any:
        changes: dict[str, Any] = {"parameters": {}, "image": None, "input": list(inputs), "output": [LABEL, SCORE]}
        return load_trusted(pinned(root, "torch_export", file, **changes))

    def test_keywords_and_dicts_are_matched_by_name(self, tmp_path: Path, named: Path) -> None:
        backend = self.load(tmp_path, named, SCALE, IMAGE)
        outputs = backend.run({"image": np.ones((3, 8, 8), np.float32), "scale": np.arange(3, dtype=np.float32)})
        assert outputs["label"].tolist() == [0, 64, 128]
        assert outputs["score"].tolist() == [0, 64, 128]

    @pytest.mark.parametrize(
        ("inputs", "told"),
        [
            ([IMAGE], "the graph takes 1 inputs by position and scale, and model.yaml has image"),
            ([{**IMAGE, "data_type": "TYPE_FP64"}, SCALE], "input 'image' is FP64, and FP32 in the graph"),
            (
                [{**IMAGE, "dims": [8, 9]}, SCALE],
                "input 'image' has shape [-1, 8, 9], and [-1, 8, 8] in the graph (-1: any size)",
            ),
        ],
    )
    def test_what_does_not_fit_is_told(
        self, tmp_path: Path, named: Path, inputs: list[dict[str, Any]], told: str
    ) -> None:
        with pytest.raises(ConfigurationError) as caught:
            self.load(tmp_path, named, *inputs)
        assert told in caught.value.message


def test_a_file_that_is_no_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"no archive")
    repository = pinned(tmp_path, "torch_export", tmp_path / "model.pt2")
    with pytest.raises(ConfigurationError, match=r"model\.pt2: cannot be loaded: "):
        load_trusted(repository)
