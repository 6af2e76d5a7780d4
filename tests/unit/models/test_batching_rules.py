"""From model.yaml to the rules by which rows run together, and what is said of rules that make no sense."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.oip import InferRequest
from schemas.signature import TensorSpec
from schemas.tensors import Array
from tests.unit.models.repositories import installed, why_not, write_model
from workers.inference.batching.compatibility import BatchCompatibility
from workers.inference.batching.padding import FollowingOutput, PaddedInput
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.repository import ModelRepository

HEAD = "name: digits\nplatform: onnxruntime_onnx\nmax_batch_size: 8\n"
TENSORS = """
input:
  - {name: words, data_type: TYPE_INT64, dims: [-1]}
  - {name: image, data_type: TYPE_UINT8, dims: [3, -1, -1]}
  - {name: age, data_type: TYPE_FP32, dims: []}
output:
  - {name: tags, data_type: TYPE_FP32, dims: [-1, 17]}
  - {name: label, data_type: TYPE_INT64, dims: []}
"""
TEXT = """
input: [{name: text, data_type: TYPE_STRING, dims: []}]
output: [{name: tags, data_type: TYPE_FP32, dims: [-1, 17]}]
parameters: {tokenizer: {input: text, max_tokens: 64}}
"""


def version(root: Path, more: str, tensors: str = TENSORS) -> ModelVersion:
    model = write_model(root, HEAD + tensors + more)
    (model / "tokenizer.json").write_text('{"padding": {"pad_id": 3}}')
    (found,) = ModelRepository(root, installed("onnxruntime", "tokenizers")).scan(["digits"])
    return found


def request(words: int, height: int, width: int, rows: int = 1, **parameters: Any) -> InferRequest:
    inputs: dict[str, Array] = {
        "words": np.zeros((rows, words), np.int64),
        "image": np.zeros((rows, 3, height, width), np.uint8),
        "age": np.zeros(rows, np.float32),
    }
    return InferRequest(inputs, rows, parameters=parameters)


def test_without_a_word_rows_of_one_size_run_together_and_cost_one_each(tmp_path: Path) -> None:
    rules = version(tmp_path, "").rules
    assert rules.measure(request(4, 2, 2)) == rules.measure(request(4, 2, 2, rows=3))
    assert rules.measure(request(4, 2, 2)).group != rules.measure(request(4, 2, 3)).group
    assert (rules.sized, rules.cost(3, rules.measure(request(4, 2, 2)).size)) == (False, 3)


def test_what_is_padded_does_not_keep_rows_apart_and_is_what_they_cost(tmp_path: Path) -> None:
    found = version(
        tmp_path, "padding: {inputs: {words: {value: 9, mask: words_mask}}, outputs: {tags: words}, lengths: [4, 8]}"
    )
    rules = found.rules
    short, long = rules.measure(request(3, 2, 2)), rules.measure(request(7, 2, 2))
    assert short.group == long.group != rules.measure(request(3, 2, 3)).group
    assert (short.size, short.row_cost) == ((4,), 3)
    assert (long.size, long.row_cost) == ((8,), 7)
    assert rules.sized
    mask = TensorSpec("words_mask", "INT64", (-1, -1))
    assert rules.padding.inputs == {"words": PaddedInput((1,), 9, mask)}
    assert rules.padding.outputs == {"tags": FollowingOutput("words", (1,))}
    assert found.network.inputs == (*found.signature.inputs, mask)


def test_rows_can_cost_the_elements_of_an_input(tmp_path: Path) -> None:
    rules = version(tmp_path, "cost: {elements_of: image}\ndynamic_batching: {max_cost: 100}").rules
    assert rules.measure(request(1, 4, 5)).row_cost == 3 * 4 * 5
    assert rules.most_rows(8, (2, 2)) == 8
    assert rules.most_rows(8, (4, 4)) == 2
    assert rules.most_rows(8, (40, 40)) == 1
    assert not rules.sized  # only images of one size run together


def test_texts_cost_their_tokens_and_are_padded_as_their_tokenizer_says(tmp_path: Path) -> None:
    found = version(tmp_path, "padding: {outputs: {tags: text}}", TEXT)
    assert found.rules.padding.inputs["input_ids"].value == 3
    assert found.rules.padding.outputs == {"tags": FollowingOutput("input_ids", (1,))}
    assert [spec.name for spec in found.network.inputs] == ["input_ids", "attention_mask"]
    assert found.rules.cost(2, (5,)) == 10


def test_texts_can_cost_one_each_whatever_their_length(tmp_path: Path) -> None:
    rules = version(tmp_path, "cost: rows", TEXT).rules
    assert (rules.sized, rules.cost(2, ())) == (False, 2)


def test_jobs_that_differ_in_a_parameter_that_is_named_are_kept_apart(tmp_path: Path) -> None:
    rules = version(tmp_path, "dynamic_batching: {batch_by: [temperature]}").rules

    def group(**parameters: Any) -> object:
        return rules.measure(request(1, 1, 1, **parameters)).group

    assert group(temperature=1, seed=1) == group(temperature=1, seed=2)
    values = [1, 1.0, True, "1", None, [1], {"a": 1}]
    groups = [group(temperature=value) for value in values] + [group()]
    assert all(one != other for at, one in enumerate(groups) for other in groups[:at])
    assert rules.agreed({"temperature": 1, "seed": 2}) == {"temperature": 1}


def test_a_micro_batch_is_charged_for_the_rows_that_are_added(tmp_path: Path) -> None:
    rules = version(tmp_path, "dynamic_batching: {allowed_batch_sizes: [1, 4, 8], max_cost: 7}").rules
    assert (rules.cost(3, ()), rules.cost(5, ())) == (4, 8)
    assert rules.most_rows(8, ()) == 4


def test_there_is_no_limit_of_cost_unless_it_is_set() -> None:
    assert BatchCompatibility().max_cost == math.inf


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("cost: tokens", "cost: tokens needs parameters.tokenizer"),
        ("cost: {elements_of: sound}", "cost.elements_of: 'sound' is not among the inputs"),
        ("padding: {inputs: {sound: {}}}", "padding.inputs: 'sound' is not among the inputs"),
        ("padding: {inputs: {age: {}}}", "padding.inputs: 'age' has no dims of -1"),
        ("padding: {inputs: {image: {value: 256}}}", "padding.inputs.image.value: 256 is no TYPE_UINT8"),
        ("padding: {inputs: {image: {value: 0.5}}}", "padding.inputs.image.value: 0.5 is no TYPE_UINT8"),
        ("padding: {inputs: {words: {value: x}}}", "padding.inputs.words.value: 'x' is no TYPE_INT64"),
        ("padding: {inputs: {words: {mask: age}}}", "padding.inputs.words.mask: 'age' is another input already"),
        ("padding: {outputs: {tags: words}}", "padding.outputs.tags: 'words' is not an input that is padded"),
        (
            "padding: {inputs: {words: {}}, outputs: {logits: words}}",
            "padding.outputs: 'logits' is not among the outputs",
        ),
        (
            "padding: {inputs: {words: {}}, outputs: {label: words}}",
            "padding.outputs.label: must have as many dims of -1",
        ),
        ("padding: {inputs: {words: {}}, lengths: [8, 4]}", "padding.lengths: must ascend"),
        ("padding: {lengths: [4]}", "padding.lengths: nothing is padded"),
        ("dynamic_batching: {allowed_batch_sizes: [4, 2, 8]}", "dynamic_batching.allowed_batch_sizes: must ascend"),
        ("dynamic_batching: {allowed_batch_sizes: [1, 4]}", "must end with max_batch_size, 8"),
        ("dynamic_batching: {batch_by: [a, a]}", "dynamic_batching.batch_by: 'a' is listed twice"),
        ("dynamic_batching: {max_cost: 0}", "dynamic_batching.max_cost: "),
    ],
)
def test_rules_that_make_no_sense_are_told(tmp_path: Path, more: str, message: str) -> None:
    write_model(tmp_path, HEAD + TENSORS + more)
    assert message in why_not(tmp_path)
