"""`parameters.torch`: a smaller type, compilation, and what happens where they cannot be had."""

import weakref
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from schemas.errors import ConfigurationError, InvalidInput, OutOfMemory
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from tests.integration.models.digits import TORCH, altered, held_out, load, version_of
from tests.integration.models.needs import need
from tests.unit.models.handlers import load_handler
from workers.inference.backends import Backend
from workers.inference.backends.threads import usable_cores

need("torch")
need("safetensors")

import torch  # noqa: E402 - after the checks above

from workers.inference.backends.output_check import CheckedBackend  # noqa: E402
from workers.inference.backends.torch_module import TorchBackend  # noqa: E402
from workers.inference.backends.transfers import PinnedTransfers, PlainTransfers  # noqa: E402
from workers.inference.execution.bad_rows import BadRows  # noqa: E402


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


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    return digits(tmp_path_factory.mktemp("compiled"), compile=True)


def test_a_compiled_network_gives_the_same_outputs_at_every_row_count(compiled: Backend) -> None:
    rows = held_out().inputs
    eager = load("digits/2", TORCH)
    for count in (1, 64, 3, 17):
        part = {"image": rows["image"][:count]}
        np.testing.assert_allclose(
            compiled.run(part)["probabilities"], eager.run(part)["probabilities"], rtol=1e-4, atol=1e-6
        )


def test_a_new_row_count_is_no_new_compilation(compiled: Backend) -> None:
    rows = held_out().inputs["image"]
    for count in (2, 40):  # convolutions of few rows and of many are compiled apart
        compiled.run({"image": rows[:count]})
    before = graphs()
    for count in (3, 7, 12, 33, 64, 100):
        compiled.run({"image": rows[:count]})
    assert graphs() == before


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
    held: list[weakref.ref[torch.Tensor]] = []

    def exhaust(**tensors: torch.Tensor) -> None:
        held.extend(map(weakref.ref, tensors.values()))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 1.2 GiB free")

    backend = backend_of(exhaust)
    signature = version_of("digits/2", TORCH).signature
    with pytest.raises(OutOfMemory, match="digits/2 ran out of memory with 360 rows") as caught:
        CheckedBackend(backend, "digits/2", signature).run(held_out().inputs)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert [each() for each in held] == [None]


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


TORCH_HANDLER = """
    import torch

    class Handler:
        def load(self, context):
            if {wanted!r}:
                torch.set_num_threads({wanted!r})
        def predict(self, inputs):
            return {{"sum": inputs["values"].sum(axis=1) * 0 + torch.get_num_threads()}}
"""


@pytest.mark.parametrize("wanted", [None, 3])
def test_a_handler_keeps_its_threads_whatever_a_small_network_was_given(tmp_path: Path, wanted: int | None) -> None:
    small = load("digits/2", TORCH, with_options(tmp_path, threads=1))
    image = {"image": held_out().inputs["image"][:1]}
    small.run(image)
    handler = load_handler(tmp_path / "handlers", TORCH_HANDLER.format(wanted=wanted))
    before = torch.get_num_threads()
    try:
        for _ in range(2):
            small.run(image)
            assert torch.get_num_threads() == 1
            (threads,) = handler.run({"values": np.ones((1, 1), np.float32)})["sum"]
            assert threads == (wanted or usable_cores())
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("bad", [-1, 10])
def test_an_index_beyond_a_table_is_refused_before_it_reaches_the_device(bad: int) -> None:
    class Table(torch.nn.Embedding):
        table_sizes: ClassVar = {"x": 10}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)

    signature = Signature(inputs=(TensorSpec("x", "INT64", (-1, -1)),), outputs=(TensorSpec("y", "FP32", (-1, -1, 3)),))
    device = torch.device("cpu")
    backend = TorchBackend(Table(10, 3), signature, device, PlainTransfers(device), threads=1)
    assert backend.run({"x": np.array([[0, 9]])})["y"].shape == (1, 2, 3)
    assert backend.run({"x": np.zeros((1, 0), np.int64)})["y"].shape == (1, 0, 3)
    with pytest.raises(BadRows) as caught:
        backend.run({"x": np.array([[0, bad], [1, 2], [bad, 3]])})
    assert caught.value.errors.keys() == {0, 2}
    assert isinstance(error := caught.value.first_error, InvalidInput)
    assert error.message == "input 'x' holds a number that is not from 0 to 9"
