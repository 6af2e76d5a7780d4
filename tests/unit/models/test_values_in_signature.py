"""What the signature says of an input's values: by model.yaml, or by what runs the model."""

from pathlib import Path
from typing import Any

import pytest

from schemas.signature import TensorSpec
from tests.unit.models.repositories import fields, installed, why_not, write_model
from workers.inference.models.repository import ModelRepository

STRING = {"name": "x", "data_type": "TYPE_STRING", "dims": []}
IDS = {"name": "input_ids", "data_type": "TYPE_INT64", "dims": [-1]}
HANDLER: dict[str, Any] = {"platform": "python_handler", "trust": "code", "sha256": {"handler.py": "0" * 64}}
EMBEDDING = {"type": "embedding", "num_embeddings": 9, "embedding_dim": 2}


def spec(root: Path, *, filename: str = "model.onnx", **changes: Any) -> TensorSpec:
    model = write_model(root, fields(**changes), filename=filename)
    (model / "tokenizer.json").touch()
    modules = installed("onnxruntime", "torch", "safetensors", "sklearn", "joblib", "tokenizers")
    (version,) = ModelRepository(root, modules, trust="code").scan()
    return version.signature.inputs[0]


def test_strings_of_onnx_are_text(tmp_path: Path) -> None:
    assert spec(tmp_path, input=[STRING]).text
    assert not spec(tmp_path).text


def test_strings_of_scikit_learn_are_text(tmp_path: Path) -> None:
    sklearn = {"platform": "sklearn_joblib", "trust": "code", "sha256": {"model.joblib": "0" * 64}}
    assert spec(tmp_path, filename="model.joblib", input=[STRING], **sklearn).text


@pytest.mark.parametrize("said", [True, False])
def test_strings_of_a_handler_are_text_where_it_says_so(tmp_path: Path, said: bool) -> None:
    assert spec(tmp_path, filename="handler.py", input=[{**STRING, "text": said}], **HANDLER).text is said


def test_texts_that_become_tokens_are_cut_and_are_text_even_for_a_handler(tmp_path: Path) -> None:
    tokenizer = {"tokenizer": {"input": "x", "max_tokens": 8}}
    found = spec(tmp_path, filename="handler.py", input=[STRING], parameters=tokenizer, **HANDLER)
    assert (found.text, found.max_tokens) == (True, 8)


@pytest.mark.parametrize(
    ("tensor", "torch", "size"),
    [
        ({**IDS, "vocab_size": 7}, None, 7),
        (IDS, {"architecture": "bert", "config": {"vocab_size": 50}}, 50),
        (IDS, {"architecture": "sequential", "config": {"layers": [EMBEDDING]}}, 9),
        ({**IDS, "name": "x"}, {"architecture": "sequential", "config": {"layers": [EMBEDDING]}}, 9),
        (IDS, {"architecture": "bert", "config": {"vocab_size": "many"}}, 0),
        (IDS, None, 0),
    ],
)
def test_the_vocabulary_is_the_embeddings_where_model_yaml_does_not_say(
    tmp_path: Path, tensor: dict[str, Any], torch: dict[str, Any] | None, size: int
) -> None:
    assert spec(tmp_path, input=[tensor], parameters={"torch": torch}).vocab_size == size


def test_only_strings_are_text_and_only_integers_are_ids(tmp_path: Path) -> None:
    write_model(tmp_path, fields(input=[{**IDS, "text": True}]))
    assert "input 'input_ids': text: is for TYPE_STRING" in why_not(tmp_path)
    write_model(tmp_path, fields(input=[{**STRING, "vocab_size": 7}]))
    assert "input 'x': vocab_size: is for integers" in why_not(tmp_path)


def test_nothing_is_padded_with_a_token_that_the_network_does_not_have(tmp_path: Path) -> None:
    padded = {"inputs": {"input_ids": {"value": 7}}}
    write_model(tmp_path, fields(input=[{**IDS, "vocab_size": 7}], padding=padded))
    assert "padding.inputs.input_ids.value: 7 is no token id, which are 0 to 6" in why_not(tmp_path)

    tokenizer = {"input": "x", "max_tokens": 8, "vocab_size": 7}
    model = write_model(tmp_path, fields(input=[STRING], parameters={"tokenizer": tokenizer}))
    (model / "tokenizer.json").write_text('{"padding": {"pad_id": 7}}')
    assert "tokenizer.json: pads with 7, and the network has tokens 0 to 6" in why_not(tmp_path)
