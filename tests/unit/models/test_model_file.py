"""Whatever can be wrong in a model.yaml is told with the file, the field and the rule."""

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError
from tests.unit.models.repositories import Fields, fields, why_not, write_model
from workers.inference.models.model_file import MAX_BYTES, read_model_file

TEXT = {"name": "text", "data_type": "TYPE_STRING", "dims": []}
PIXELS = {"name": "image", "data_type": "TYPE_UINT8", "dims": [8, 8]}
IMAGE = {"width": 8, "height": 8, "mode": "L", "layout": "HW"}
PIXELS = {"name": "image", "data_type": "TYPE_UINT8", "dims": [8, 8]}
SECOND_INPUT = [*fields()["input"], {"name": "other", "data_type": "TYPE_FP32", "dims": [1]}]


def tokenizer(**changes: Any) -> Fields:
    return {"tokenizer": {"input": "text", "max_tokens": 8, **changes}}


ROW = [[0] * 8] * 8


def reference(**changes: Any) -> Fields:
    return fields(reference_rows={"inputs": {"image": [ROW]}, **changes})


@pytest.mark.parametrize(
    ("content", "field_and_rule"),
    [
        (fields(max_batchsize=3), "max_batchsize: unknown key"),
        (fields(instance_group=[{"kind": "KIND_GPU"}]), "instance_group: unknown key"),
        (
            fields(input=[{"name": "x", "data_type": "TYPE_FP32", "dims": [1], "shape": [1]}]),
            "input[0].shape: unknown key",
        ),
        (fields(dynamic_batching={"preferred_batch_size": [8]}), "dynamic_batching.preferred_batch_size: unknown key"),
        (fields(parameters={"onnxruntime": {"threads": 2}}), "parameters.onnxruntime.threads: unknown key"),
        (fields(image={**IMAGE, "colour": 1}), "image.colour: unknown key"),
        (fields(name=None), "name: is missing"),
        (fields(name="My_Model"), "name: string should match pattern"),
        (fields(platform=None), "platform: is missing"),
        (fields(platform="tensorflow_graphdef"), "platform[0]: input should be 'onnxruntime_onnx',"),
        (fields(platform=[]), "platform: must not be empty"),
        (fields(platform=["onnxruntime_onnx", "onnxruntime_onnx"]), "platform: 'onnxruntime_onnx' is listed twice"),
        (fields(max_batch_size=0), "max_batch_size: input should be greater than or equal to 1"),
        (fields(max_batch_size="64"), "max_batch_size: input should be a valid integer"),
        (fields(max_batch_size=2**70), "holds a value that is none of JSON's"),
        (fields(input=[]), "input: must not be empty"),
        (fields(input=SECOND_INPUT[:1] * 2), "input: 'image' is listed twice"),
        (
            fields(input=[{"name": "x", "data_type": "FLOAT", "dims": []}]),
            "input[0].data_type: there is no type 'FLOAT' (did you mean FP32?)",
        ),
        (fields(input=[{"name": "x", "data_type": "TYPE_FP32", "dims": [8, 0]}]), "input[0].dims[1]: a dimension is"),
        (fields(input=[{"name": "x", "data_type": "TYPE_FP32", "dims": [-2]}]), "input[0].dims[0]: a dimension is"),
        (fields(input=[{"name": "x", "data_type": "TYPE_FP32", "dims": [True]}]), "input[0].dims[0]: a dimension is"),
        (fields(input=[{"name": "x", "data_type": "TYPE_FP32"}]), "input[0].dims: is missing"),
        (fields(output=[]), "output: must not be empty"),
        (
            fields(dynamic_batching={"max_queue_delay_microseconds": -1}),
            "max_queue_delay_microseconds: input should be",
        ),
        (
            fields(dynamic_batching={"latency_target_microseconds": 0}),
            "dynamic_batching.latency_target_microseconds: input should be greater than 0",
        ),
        (
            fields(dynamic_batching={"latency_target_microseconds": 5, "adaptive": False}),
            "dynamic_batching.latency_target_microseconds: has no effect with adaptive: false",
        ),
        (fields(model_warmup=[{"batch_size": 65}]), "model_warmup[0].batch_size: 65 is more than max_batch_size, 64"),
        (fields(model_warmup=[{"batch_size": 0}]), "model_warmup[0].batch_size: input should be greater than 0"),
        (reference(inputs={}), "reference_rows.inputs: must not be empty"),
        (reference(inputs={"pixels": [ROW]}), "reference_rows.inputs: 'image' is missing"),
        (reference(inputs={"image": [ROW], "y": [1]}), "reference_rows.inputs: 'y' is not among the inputs"),
        (reference(outputs={"score": [1]}), "reference_rows.outputs: 'score' is not among the outputs"),
        (reference(inputs={"image": [[1, 2]]}), "reference_rows.inputs.image has shape [1, 2]; the model takes [-1, 8"),
        (reference(inputs={"image": [[["a"] * 8] * 8]}), "reference_rows.inputs.image"),
        (reference(inputs={"image": [[[None] * 8] * 8]}), "reference_rows.inputs.image"),
        (reference(outputs={"label": [1.5]}), "reference_rows.outputs.label"),
        (reference(outputs={"label": [1, 2]}), "reference_rows: all tensors must have as many rows"),
        (reference(inputs={"image": [ROW] * 65}), "reference_rows: 65 rows are more than max_batch_size, 64"),
        (reference(rtol=-1.0), "reference_rows.rtol: input should be greater than or equal to 0"),
        (fields(compare={}), "compare: must have exactly one of tolerance, label and function"),
        (fields(compare={"label": "label", "tolerance": {}}), "compare: must have exactly one of"),
        (fields(compare={"label": "scores"}), "compare.label: 'scores' is not among the outputs"),
        (fields(compare={"tolerance": {"absolute": -1.0}}), "compare.tolerance.absolute: input should be greater"),
        (fields(compare={"function": "same"}), "compare: function must be <module>:<name>"),
        (fields(compare={"function": "compare:same"}), "trust: must be code, since compare.function is code"),
        (fields(compare={"function": "compare:same"}, trust="code"), "sha256: must pin compare.py"),
        (fields(metrics={"accuracy": [1]}), "metrics.accuracy"),
        (fields(image={"width": 8}), "image.height: is missing"),
        (fields(image={**IMAGE, "invert": "maybe"}), "image.invert: input should be 'never', 'always' or 'auto'"),
        (fields(image={**IMAGE, "width": 9}), "image: makes rows of shape [8, 9], and input 'image' has dims [8, 8]"),
        (fields(image={**IMAGE, "mode": "RGB"}), "image.layout: HW has no place for the three channels of mode RGB"),
        (fields(image={**IMAGE, "input": "picture"}), "image.input: 'picture' is not among the inputs"),
        (fields(image=IMAGE, input=SECOND_INPUT), "image: an image makes one input, and the model has 2"),
        (fields(image=IMAGE, input=[TEXT]), "image: pixels are numbers, and the input is BYTES (input 'text')"),
        (fields(image={**IMAGE, "scale": 1 / 255}, input=[PIXELS]), "scale and offset must be whole numbers"),
        (
            fields(image={**IMAGE, "scale": 0}, input=[PIXELS]),
            "scale and offset must be whole numbers, and scale not 0",
        ),
        (fields(image={**IMAGE, "offset": 0.5}, input=[PIXELS]), "scale and offset must be whole numbers"),
        (fields(image={**IMAGE, "scale": 2}, input=[PIXELS]), "pixels become 0 to 510, and UINT8 holds 0 to 255"),
        (fields(image={**IMAGE, "offset": -1}, input=[PIXELS]), "pixels become -1 to 254, and UINT8 holds 0 to 255"),
        (fields(image={**IMAGE, "mean": "0.5"}), "image.mean: must be a number, or a list with one a channel"),
        (fields(image={**IMAGE, "std": [0.5, 0.5]}), "image.std: has 2 numbers, and mode L has 1 channels"),
        (fields(image={**IMAGE, "std": 0}), "image.std: must not be 0"),
        (fields(image={**IMAGE, "std": 1e-320}), "make pixels that are no numbers of FP32"),
        (fields(image={**IMAGE, "scale": 1e40}), "make pixels that are no numbers of FP32"),
        (fields(image={**IMAGE, "mean": 0.5, "offset": 1}), "image.offset: goes without mean and std"),
        (fields(image={**IMAGE, "resize": 9}), "image.resize: is for crop: center"),
        (fields(image={**IMAGE, "resize": 7, "crop": "center"}), "image.resize: 7 pixels are less than the 8"),
        (fields(image={**IMAGE, "crop": "middle"}), "image.crop: input should be 'none' or 'center'"),
        (fields(image={**IMAGE, "mean": 0.5}, input=[PIXELS]), "scale and offset must be whole numbers"),
        (fields(features=["age"]), "features: 1 names do not fit input 'image' with dims [8, 8]"),
        (fields(features=["age", "age"]), "features: 'age' is listed twice"),
        (fields(features=["age"], input=SECOND_INPUT), "features: names the columns of one input"),
        (
            fields(platform=["sklearn_joblib"], trust="code", sha256={"model.joblib": "0" * 64}, input=SECOND_INPUT),
            "input: scikit-learn takes one table [rows, features], or a column an input with dims []; 'image' has dims",
        ),
        (
            fields(input=[{"name": "x", "data_type": "FP32", "dims": [], "batch_dimension": False}]),
            "max_batch_size: must be 1, since 'x' has batch_dimension: false",
        ),
        (fields(parameters=tokenizer()), "parameters.tokenizer.input: 'text' is not among the inputs"),
        (fields(parameters=tokenizer(input="image")), "parameters.tokenizer.input: 'image' must be TYPE_STRING"),
        (fields(parameters=tokenizer(max_tokens=0)), "parameters.tokenizer.max_tokens: input should be greater than 0"),
        (fields(parameters=tokenizer(produces=[]), input=[TEXT]), "parameters.tokenizer.produces: must not be empty"),
        (
            fields(
                parameters=tokenizer(), input=[TEXT, {"name": "input_ids", "data_type": "TYPE_INT64", "dims": [-1]}]
            ),
            "parameters.tokenizer.produces: 'input_ids' is already an input of the model",
        ),
        (fields(versions={"1": {"max_batch_size": "x"}}), "versions.1.max_batch_size: input should be a valid integer"),
        (fields(versions={"1": {"name": "other"}}), "versions.1.name: unknown key"),
        (fields(versions={"No": {}}), "versions.No.[key]: string should match pattern"),
        (fields(versions={"9": {}}), "versions: there is no version '9', only 1"),
        (fields(default_version="9"), "default_version: there is no version '9', only 1"),
        (fields(default_version=1), "default_version: input should be a valid string"),
        (fields(name="other"), "name: is 'other', and its directory 'digits'"),
    ],
)
def test_a_mistake_is_told_with_file_field_and_rule(tmp_path: Path, content: Fields, field_and_rule: str) -> None:
    model = write_model(tmp_path, content)
    message = why_not(tmp_path)
    assert message.startswith(f"{model / 'model.yaml'}: ")
    assert field_and_rule in message


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    write_model(tmp_path, fields(max_batch_size=0, input=[], colour="red"))
    message = why_not(tmp_path)
    assert "max_batch_size: " in message
    assert "input: " in message
    assert "colour: unknown key" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "place_and_rule"),
    [
        ("name: [unclosed", ", line 1, column 16: "),
        ("name: digits\nname: digits\n", ", line 2, column 1: key 'name' is there twice"),
        ("name: digits\nversions:\n  1: {}\n", ", line 3, column 3: key 1 must be text: put it in quotes"),
        ("name: &n digits\ndescription: *n\n", ", line 2, column 14: aliases are not taken"),
        ("name: !!python/name:os.system\n", ", line 1, column 7: could not determine a constructor"),
        ("- name\n", ": must be a mapping of fields, as name: digits"),
        ("", ": must be a mapping of fields, as name: digits"),
        ("name: \x00\n", ": is not YAML: unacceptable character #x0000"),
        ("name: digits\nrtol: .inf\n", ", line 2, column 7: infinity is not taken"),
        ("[" * 5000, ": is nested too deeply"),
        ("#" * (MAX_BYTES + 1), f": is larger than {MAX_BYTES} bytes"),
    ],
)
def test_yaml_that_is_not_a_mapping_of_unique_text_keys_is_refused(
    tmp_path: Path, text: str, place_and_rule: str
) -> None:
    model = write_model(tmp_path, text)
    message = why_not(tmp_path)
    assert message.startswith(f"{model / 'model.yaml'}{place_and_rule}")
    assert "\n" not in message


def test_a_list_whose_elements_are_wrong_is_not_said_to_be_empty(tmp_path: Path) -> None:
    write_model(tmp_path, fields(input=[{"name": "x", "data_type": "FLOAT", "dims": []}]))
    assert "empty" not in why_not(tmp_path)


@pytest.mark.parametrize(
    ("text", "number"), [("1e-3", 1e-3), ("1E5", 1e5), (".5e1", 5.0), ("-2.5e2", -250.0), ("1.e+3", 1e3)]
)
def test_a_number_with_an_exponent_is_a_number(tmp_path: Path, text: str, number: float) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(f"name: digits\nlimit: {text}\n")
    assert read_model_file(path).fields == {"limit": number}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.yaml: cannot be read: No such file"):
        read_model_file(tmp_path / "model.yaml")


def test_a_version_overrides_whole_fields_and_keeps_the_others(tmp_path: Path) -> None:
    overrides = {"2": {"max_batch_size": 8, "description": "the second", "metrics": {"test_accuracy": 0.99}}}
    model = write_model(
        tmp_path,
        fields(description="all", metrics={"test_accuracy": 0.9, "rows": 3}, versions=overrides),
        versions=("1", "2"),
    )
    file = read_model_file(model / "model.yaml")
    first, second = file.version("1"), file.version("2")
    assert (first.max_batch_size, first.description, first.metrics) == (64, "all", {"test_accuracy": 0.9, "rows": 3})
    assert (second.max_batch_size, second.description, second.metrics) == (8, "the second", {"test_accuracy": 0.99})
    assert first.input == second.input
