"""Inputs and outputs bound to a device. The CPU is one too, so the road is run here without a GPU."""

from dataclasses import replace

import numpy as np
import pytest

from schemas.errors import OutOfMemory
from schemas.signature import Signature, TensorSpec
from tests.integration.models.digits import held_out, version_of
from tests.integration.models.needs import need
from workers.inference.backends.output_check import CheckedBackend
from workers.inference.models.model_parameters import OnnxruntimeParameters, Parameters

need("onnx")
need("onnxruntime")

import onnx  # noqa: E402 - after the checks above
import onnxruntime  # noqa: E402

from workers.inference.backends.onnx import OnnxBackend, load_onnx  # noqa: E402


def test_bound_inputs_and_outputs_give_what_a_plain_run_gives() -> None:
    version, rows = version_of("digits/2"), held_out().inputs["image"]
    session = onnxruntime.InferenceSession(version.file, providers=["CPUExecutionProvider"])
    plain, bound = OnnxBackend(session, version.signature), OnnxBackend(session, version.signature, ("cpu", 0))
    kept = []
    for part in (rows[:64], rows[64:65], rows[100:0:-3]):  # the last with gaps, backwards
        outputs = bound.run({"image": part})
        kept.append((outputs, {name: array.copy() for name, array in outputs.items()}))
        for name, expected in plain.run({"image": part}).items():
            np.testing.assert_allclose(outputs[name], expected, rtol=1e-6)
    for outputs, copies in kept:  # what came later has not written over it
        for name, array in outputs.items():
            np.testing.assert_array_equal(array, copies[name])


def test_a_graph_that_the_memory_has_no_room_for_is_told_from_one_that_fails() -> None:
    info, helper = onnx.helper.make_tensor_value_info, onnx.helper
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["sizes"], ["y"])],
        "large",
        [info("sizes", onnx.TensorProto.INT64, [2])],
        [info("y", onnx.TensorProto.FLOAT, ["rows", "columns"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    signature = Signature(inputs=(TensorSpec("sizes", "INT64", (-1,)),), outputs=(TensorSpec("y", "FP32", (-1, -1)),))
    backend = CheckedBackend(OnnxBackend(session, signature), "large/1", signature)
    assert backend.run({"sizes": np.array([2, 3])})["y"].shape == (2, 3)
    with pytest.raises(OutOfMemory, match="large/1 ran out of memory with 2 rows"):
        backend.run({"sizes": np.array([2, 10**15])})


@pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="this ONNX Runtime has no CUDA"
)
@pytest.mark.parametrize("io_binding", [True, False])
def test_a_gpu_gives_what_the_cpu_gives(io_binding: bool) -> None:
    parameters = Parameters(onnxruntime=OnnxruntimeParameters(io_binding=io_binding))
    version, rows = replace(version_of("digits/2"), parameters=parameters), held_out().inputs
    on_gpu = load_onnx(version, version.signature, "cuda:0").run(rows)
    for name, expected in load_onnx(version, version.signature, "cpu").run(rows).items():
        np.testing.assert_allclose(on_gpu[name], expected, rtol=1e-3, atol=1e-5)
