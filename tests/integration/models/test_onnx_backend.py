"""ONNX graphs are held against model.yaml when they are loaded, and run by ONNX Runtime."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigurationError, JobError
from schemas.tensors import Array
from tests.integration.models.digits import altered, held_out, load, version_of
from tests.integration.models.needs import need

need("onnx")
need("onnxruntime")

import onnx  # noqa: E402 - after the check above
import onnxruntime  # noqa: E402

from workers.inference.backends import load_backend  # noqa: E402
from workers.inference.backends.onnx import _session_options  # noqa: E402
from workers.inference.backends.reference_inputs import run_rows  # noqa: E402
from workers.inference.backends.threads import SMALL_MODEL_BYTES, usable_cores  # noqa: E402
from workers.inference.backends.warmup import load_warm  # noqa: E402
from workers.inference.models.model_version import ModelVersion  # noqa: E402
from workers.inference.models.repository import ModelRepository  # noqa: E402
from workers.inference.models.snapshot import weight_bytes  # noqa: E402

FLOAT, STRING = onnx.TensorProto.FLOAT, onnx.TensorProto.STRING


def identity(
    root: Path, element_type: int, graph_shape: list[int | str], fields: Mapping[str, Any] = {}, **tensor: Any
) -> Path:
    """A repository with the model `echo`, whose graph gives back its input `x` as `y`."""
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "echo",
        [info("x", element_type, graph_shape)],
        [info("y", element_type, graph_shape)],
    )
    (root / "echo" / "1").mkdir(parents=True)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, root / "echo" / "1" / "model.onnx")
    content = {
        "name": "echo",
        "platform": "onnxruntime_onnx",
        "max_batch_size": 8,
        "input": [{"name": "x", **tensor}],
        "output": [{"name": "y", **tensor}],
        **fields,
    }
    (root / "echo" / "model.yaml").write_text(json.dumps(content))  # JSON is YAML
    return root


@pytest.mark.parametrize(
    ("tensors", "at", "change", "mistake"),
    [
        ("input", 0, {"name": "picture"}, "input 'picture' is not among the graph's: image"),
        ("input", 0, {"name": "picture"}, "the graph's input 'image' is missing"),
        ("input", 0, {"data_type": "TYPE_FP64"}, "input 'image' is FP64, and FP32 in the graph"),
        ("input", 0, {"dims": [64]}, "input 'image' has shape [?, 64] with its batch dimension, and [rows, 8, 8]"),
        ("input", 0, {"dims": [8, 9]}, "input 'image' has shape [?, 8, 9] with its batch dimension, and [rows, 8, 8]"),
        ("input", 0, {"dims": [8, -1]}, "input 'image' has shape [?, 8, ?] with its batch dimension, and [rows, 8, 8]"),
        ("output", 0, {"name": "class"}, "output 'class' is not among the graph's: label, probabilities"),
        ("output", 0, {"data_type": "TYPE_INT32"}, "output 'label' is INT32, and INT64 in the graph"),
        ("output", 1, {"dims": [11]}, "output 'probabilities' has shape [?, 11] with its batch dimension"),
    ],
)
@pytest.mark.parametrize("version", ["1", "2"])
def test_a_model_yaml_that_does_not_fit_the_graph_is_refused(
    tmp_path: Path, version: str, tensors: str, at: int, change: dict[str, Any], mistake: str
) -> None:
    def misdescribe(fields: dict[str, Any]) -> None:
        del fields["image"]
        fields[tensors][at] = {**fields[tensors][at], **change}
        fields[tensors][at].pop("label_filename", None)

    repository = altered(tmp_path, version, misdescribe)
    with pytest.raises(ConfigurationError) as caught:
        load(f"digits/{version}", repository=repository)
    file = repository / "digits" / version / "model.onnx"
    assert caught.value.message.startswith(f"{file}: model.yaml does not fit the graph: ")
    assert mistake in caught.value.message


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    def misdescribe(fields: dict[str, Any]) -> None:
        del fields["image"]
        fields["input"][0]["dims"] = [64]
        fields["output"][0]["data_type"] = "TYPE_FP32"
        del fields["output"][0]["label_filename"]

    with pytest.raises(ConfigurationError, match=r"input 'image' has shape .*; output 'label' is FP32, and INT64"):
        load("digits/1", repository=altered(tmp_path, "1", misdescribe))


def test_outputs_that_model_yaml_leaves_out_are_not_computed(tmp_path: Path) -> None:
    repository = altered(tmp_path, "2", lambda fields: fields["output"].pop(1))
    assert list(load("digits/2", repository=repository).run(held_out().inputs)) == ["label"]


@pytest.mark.parametrize("sizes", [(), (1, 8), (4,)])
def test_a_graph_for_a_fixed_number_of_rows_is_refused_where_another_may_run(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    fields = {"max_batch_size": max(sizes, default=8), "dynamic_batching": {"allowed_batch_sizes": list(sizes)}}
    repository = identity(tmp_path, FLOAT, [1, 3], fields, data_type="TYPE_FP32", dims=[3])
    with pytest.raises(ConfigurationError, match=r"input 'x' was made for exactly 1 rows: .* max_batch_size: 1 and "):
        load("echo", repository=repository)


@pytest.mark.parametrize("rows", [1, 4])
def test_a_graph_for_a_fixed_number_of_rows_is_served_where_no_other_runs(tmp_path: Path, rows: int) -> None:
    fields = {"max_batch_size": rows, "dynamic_batching": {"allowed_batch_sizes": [rows]}}
    repository = identity(tmp_path, FLOAT, [rows, 3], fields, data_type="TYPE_FP32", dims=[3])
    (version,) = ModelRepository(repository).scan()
    backend = load_warm(version, "cpu")
    for given in range(1, rows + 1):
        inputs = {"x": np.arange(given * 3, dtype=np.float32).reshape(given, 3)}
        np.testing.assert_array_equal(run_rows(version, backend, inputs)["y"], inputs["x"])


def test_the_dimensions_of_a_row_are_held_against_the_graph_of_fixed_rows_as_well(tmp_path: Path) -> None:
    fields = {"max_batch_size": 1, "dynamic_batching": {"allowed_batch_sizes": [1]}}
    repository = identity(tmp_path, FLOAT, [1, 4], fields, data_type="TYPE_FP32", dims=[3])
    with pytest.raises(
        ConfigurationError, match=r"input 'x' has shape \[\?, 3\] with its batch dimension, and \[1, 4\]"
    ):
        load("echo", repository=repository)


def test_weights_in_files_beside_the_graph_count_for_its_threads(tmp_path: Path) -> None:
    repository = identity(tmp_path, FLOAT, ["rows", 3], data_type="TYPE_FP32", dims=[3])
    (version,) = ModelRepository(repository).scan()
    assert threads_of(version) == 1
    (version.directory / "weights.bin").write_bytes(bytes(SMALL_MODEL_BYTES))
    assert threads_of(version) == usable_cores()


def threads_of(version: ModelVersion) -> int:
    options = _session_options(version.parameters.onnxruntime, weight_bytes(version))
    return int(options.intra_op_num_threads)


def test_model_yaml_may_fix_a_size_that_the_graph_leaves_open(tmp_path: Path) -> None:
    repository = identity(tmp_path, FLOAT, ["rows", "columns"], data_type="TYPE_FP32", dims=[3])
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(load("echo", repository=repository).run({"x": rows})["y"], rows)


@pytest.mark.parametrize("texts", [[b"caf\xc3\xa9", b""], ["café", ""]], ids=["bytes", "str"])
def test_text_goes_in_as_bytes_or_str_and_comes_out_as_str(tmp_path: Path, texts: list[str | bytes]) -> None:
    repository = identity(tmp_path, STRING, ["rows"], data_type="TYPE_STRING", dims=[])
    outputs = load("echo", repository=repository).run({"x": np.array(texts, dtype=object)})
    assert outputs["y"].tolist() == ["café", ""]


@pytest.mark.parametrize("content", [b"", b"\x80\x04not a graph"], ids=["empty", "garbage"])
def test_a_file_that_is_no_graph_is_named(tmp_path: Path, content: bytes) -> None:
    repository = altered(tmp_path, "1", lambda _: None)
    file = repository / "digits" / "1" / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load("digits/1", repository=repository)
    assert caught.value.message.startswith(f"{file}: ONNX Runtime cannot load it: ")
    assert "\n" not in caught.value.message


def test_inputs_that_the_graph_cannot_take_fail_the_job() -> None:
    with pytest.raises(JobError, match=r"digits/1 failed on this input \("):
        load("digits/1").run({"image": np.zeros((1, 9, 9), np.float32)})


def test_views_of_received_bytes_and_any_thread_will_do() -> None:
    backend, rows = load("digits/2"), held_out()
    expected = backend.run(rows.inputs)["label"]
    received = np.frombuffer(rows.inputs["image"].tobytes(), dtype="<f4").reshape(-1, 8, 8)

    def ask(_: int) -> Array:
        return backend.run({"image": received})["label"]

    for _ in range(3):
        with ThreadPoolExecutor(1) as inference:
            (label,) = inference.map(ask, range(1))
            np.testing.assert_array_equal(label, expected)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA"
)
class TestWithoutCuda:
    def test_a_gpu_that_is_asked_for_must_be_there(self) -> None:
        with pytest.raises(ConfigurationError, match="this ONNX Runtime runs on the CPU only"):
            load_backend(version_of("digits/1"), "cuda:0")

    def test_auto_takes_the_cpu(self) -> None:
        backend = load_backend(version_of("digits/1"), "auto")
        assert backend.run(held_out().inputs)["label"].shape == (360,)


def test_tensors_without_rows_are_given_and_taken_without_them(tmp_path: Path) -> None:
    """A detector: one image, a threshold beside it, and as many values as there are above it."""
    info = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Greater", ["image", "threshold"], ["above"]),
        onnx.helper.make_node("Compress", ["image", "flat"], ["found"]),
        onnx.helper.make_node("Reshape", ["above", "shape"], ["flat"]),
    ]
    nodes = [nodes[0], nodes[2], nodes[1]]
    shape = onnx.numpy_helper.from_array(np.array([-1]), "shape")
    inputs = [info("image", FLOAT, [1, 4]), info("threshold", FLOAT, [])]
    graph = onnx.helper.make_graph(nodes, "detector", inputs, [info("found", FLOAT, ["n"])], [shape])
    (tmp_path / "detector" / "1").mkdir(parents=True)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "detector" / "1" / "model.onnx")
    content = {
        "name": "detector",
        "platform": "onnxruntime_onnx",
        "max_batch_size": 1,
        "dynamic_batching": {"allowed_batch_sizes": [1]},
        "input": [
            {"name": "image", "data_type": "FP32", "dims": [4]},
            {"name": "threshold", "data_type": "FP32", "dims": [], "batch_dimension": False},
        ],
        "output": [{"name": "found", "data_type": "FP32", "dims": [-1], "batch_dimension": False}],
    }
    (tmp_path / "detector" / "model.yaml").write_text(json.dumps(content))
    (version,) = ModelRepository(tmp_path).scan()
    backend = load_backend(version, "cpu")
    image = np.array([[0.1, 0.7, 0.4, 0.9]], np.float32)
    for threshold, found in ((0.5, [0.7, 0.9]), (0.0, image[0].tolist()), (1.0, [])):
        outputs = backend.run({"image": image, "threshold": np.array([threshold], np.float32)})
        np.testing.assert_allclose(outputs["found"], np.array([found], np.float32).reshape(1, -1))
