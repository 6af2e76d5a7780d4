"""`parameters.torch`: a smaller type, compilation, and what happens where they cannot be had."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigurationError, OutOfMemory
from schemas.tensors import Array
from tests.integration.models.digits import TORCH, altered, held_out, load, version_of
from tests.integration.models.needs import need
from workers.inference.backends import Backend

need("torch")
need("safetensors")

import torch  # noqa: E402 - after the checks above

from workers.inference.backends.torch_module import TorchBackend  # noqa: E402
from workers.inference.backends.transfers import PinnedTransfers, PlainTransfers  # noqa: E402


def with_options(root: Path, **options: Any) -> Path:
    return altered(root, "2", lambda fields: fields["parameters"]["torch"].update(options))


def digits(root: Path, **options: Any) -> Backend:
    return load("digits/2", TORCH, with_options(root, **options))


@pytest.mark.parametrize("datatype", ["bfloat16", "float16"])
def test_a_smaller_type_gives_nearly_the_same_outputs_in_the_declared_types(tmp_path: Path, datatype: str) -> None:
    rows = held_out()
    exact = load("digits/2", TORCH).run(rows.inputs)
    rounded = digits(tmp_path, autocast=datatype).run(rows.inputs)
    assert {name: array.dtype for name, array in rounded.items()} == {
        name: array.dtype for name, array in exact.items()
    }
    np.testing.assert_allclose(rounded["probabilities"], exact["probabilities"], atol=0.03)
    assert not np.array_equal(rounded["probabilities"], exact["probabilities"])  # so it was in use
    assert (rounded["label"] == rows.labels).mean() > 0.99


def test_a_compiled_network_gives_the_same_outputs_at_every_row_count(tmp_path: Path) -> None:
    rows = held_out().inputs
    eager, compiled = load("digits/2", TORCH), digits(tmp_path, compile=True)
    for count in (1, 64, 3, 17):
        part = {"image": rows["image"][:count]}
        np.testing.assert_allclose(
            compiled.run(part)["probabilities"], eager.run(part)["probabilities"], rtol=1e-4, atol=1e-6
        )


def test_a_new_row_count_is_no_new_compilation(tmp_path: Path) -> None:
    rows = held_out().inputs["image"]
    backend = digits(tmp_path, compile=True)
    for count in (2, 40):  # convolutions of few rows and of many are compiled apart
        backend.run({"image": rows[:count]})
    compiled = graphs()
    for count in (3, 7, 12, 33, 64, 100):
        backend.run({"image": rows[:count]})
    assert graphs() == compiled


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def test_without_a_compiler_the_option_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        ConfigurationError, match="compile: needs a C\\+\\+ compiler, and there is no 'no-such-compiler'"
    ):
        digits(tmp_path, compile=True)


@pytest.mark.parametrize("options", [{"compile": "fastest"}, {"autocast": "int8"}, {"compile": None}])
def test_options_that_torch_does_not_know_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"parameters.torch.{next(iter(options))}"):
        version_of("digits/2", TORCH, with_options(tmp_path, **options))


def backend_of(module: Any) -> TorchBackend:
    device = torch.device("cpu")
    return TorchBackend(module, version_of("digits/2", TORCH).signature, device, PlainTransfers(device), threads=1)


def test_a_gpu_that_ran_out_of_memory_is_told_and_nothing_holds_on_to_its_tensors() -> None:
    def exhaust(**_tensors: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 1.2 GiB free")

    with pytest.raises(OutOfMemory, match="the GPU ran out of memory: CUDA out of memory") as caught:
        backend_of(exhaust).run(held_out().inputs)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # its frames would keep the tensors alive


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("transfers", [PlainTransfers, PinnedTransfers])
def test_arrays_come_back_from_the_gpu_as_they_went(transfers: type[PlainTransfers | PinnedTransfers]) -> None:
    road = transfers(torch.device("cuda", 0))
    arrays: dict[str, Array] = {
        "floats": np.arange(12, dtype=np.float32).reshape(3, 4),
        "read only": np.frombuffer(bytes(range(16)), dtype=np.int64),
        "transposed": np.arange(6).reshape(2, 3).T,
        "none": np.empty((0, 5), np.float16),
    }
    for _ in range(3):
        tensors = road.to_device(arrays)
        assert all(tensor.is_cuda for tensor in tensors.values())
        back = road.to_host(tensors)
        for name, array in arrays.items():
            np.testing.assert_array_equal(back[name], array)
