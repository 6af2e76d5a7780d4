"""Folders as transformers and sentence-transformers save models of texts in become models of ours."""

import json
from collections.abc import Mapping
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from penstock.cli import main
from penstock.init.examples import FILES
from penstock.models.checking import Verdict, check_models
from tests.integration.models.needs import need
from tests.integration.models.networks import TINY_BERT
from workers.inference.models.repository import ModelRepository

for module in ("onnx", "onnxruntime", "safetensors", "tokenizers", "torch"):
    need(module)

import onnx  # noqa: E402 - after the checks above
import torch  # noqa: E402
from onnx import helper  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from workers.inference.backends import load_backend  # noqa: E402
from workers.inference.backends.architectures import bert  # noqa: E402
from workers.inference.decoding.tokenizer import load_tokenizer  # noqa: E402

BERT = {**TINY_BERT, "model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu"}
CLASSIFIER = {
    "model_type": "roberta",
    "architectures": ["RobertaForSequenceClassification"],
    "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
    "max_position_embeddings": 66,
    "vocab_size": 20,
}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def imported(folder: Path, repository: Path, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["import", "huggingface", *map(str, (folder, repository, *arguments))])


def refused(folder: Path) -> str:
    result = imported(folder, folder.parent / "refused")
    assert result.exit_code == 1, result.output
    assert "\n" not in result.stderr.strip()
    return result.stderr.removeprefix("Error: ").strip()


def fields(repository: Path, name: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = yaml.safe_load((repository / name / "model.yaml").read_text())
    return content


def verdict(repository: Path) -> Verdict:
    (only,) = check_models(ModelRepository(repository), ["*"], "cpu")
    return only


def answers(repository: Path, *texts: str) -> dict[str, Any]:
    """What the model gives for the texts, all of as many tokens."""
    (version,) = ModelRepository(repository).scan()
    tokens = load_tokenizer(version).encode_each([np.array(texts, dtype=object)])[0]
    backend = load_backend(version, "cpu")
    try:
        return backend.run(
            {name: rows.values.reshape(len(texts), -1).astype(np.int64) for name, rows in tokens.items()}
        )
    finally:
        backend.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "My_Model").mkdir()
    copyfile(FILES / "reviews" / "tokenizer.json", tmp_path / "My_Model" / "tokenizer.json")
    return tmp_path / "My_Model"


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def with_weights(
    folder: Path, config: Mapping[str, Any] = BERT, prefix: str = "", more: Mapping[str, torch.Tensor] | None = None
) -> Path:
    write(folder, "config.json", config)
    torch.manual_seed(1)
    weights = {f"{prefix}{name}": weight for name, weight in bert.build(TINY_BERT).state_dict().items()}
    save_file({**weights, **(more or {})}, folder / "model.safetensors")
    return folder


def with_graph(folder: Path, config: Mapping[str, Any] = CLASSIFIER, place: str = "onnx/model.onnx") -> Path:
    """The graph of `reviews`, its scores called as transformers calls them."""
    write(folder, "config.json", config)
    graph = onnx.load(FILES / "reviews" / "1" / "model.onnx")
    for node in graph.graph.node:
        for names in (node.input, node.output):
            names[:] = ["logits" if name == "scores" else name for name in names]
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["rows", 2]))
    graph.graph.output.append(helper.make_tensor_value_info("each", onnx.TensorProto.FLOAT, ["rows", "tokens", 2]))
    (folder / place).parent.mkdir(exist_ok=True)
    onnx.save(graph, folder / place)
    return folder


class TestGraphs:
    @pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
    def test_a_classifier_comes_with_its_tokenizer_and_its_labels(self, folder: Path, place: str) -> None:
        models = folder.parent / "models"
        result = imported(with_graph(folder, place=place), models, "--max-batch-size", 8)
        assert result.exit_code == 0, result.output
        assert result.stdout == f"{models}/my-model\n"
        assert "outputs each: left behind" in result.stderr
        assert (models / "my-model" / "labels.txt").read_text() == "NEGATIVE\nPOSITIVE\n"
        (output,) = fields(models, "my-model")["output"]
        assert output == {"name": "logits", "data_type": "TYPE_FP32", "dims": [2], "label_filename": "labels.txt"}
        tokenizer = fields(models, "my-model")["parameters"]["tokenizer"]
        assert tokenizer == {"input": "text", "max_tokens": 64, "vocab_size": 20}

        assert verdict(models).refused is None
        assert answers(models, "good food", "rude waiter")["logits"].argmax(1).tolist() == [1, 0]

    def test_a_row_a_token_is_cut_back_to_each_text(self, folder: Path) -> None:
        config = {"model_type": "distilbert", "architectures": ["DistilBertModel"]}
        with_graph(folder, config)
        graph = onnx.load(folder / "onnx" / "model.onnx")
        del graph.graph.output[0]
        onnx.save(graph, folder / "onnx" / "model.onnx")
        models = folder.parent / "models"
        assert "each: has a row a token of the text" in imported(folder, models).stderr
        assert fields(models, "my-model")["padding"] == {"outputs": {"each": "text"}}
        assert verdict(models).refused is None

    def test_a_graph_of_something_else_than_texts_is_refused(self, folder: Path) -> None:
        write(folder, "config.json", {"model_type": "vit"})
        copyfile(FILES / "iris" / "1" / "model.onnx", folder / "model.onnx")
        assert (
            "model.onnx: takes features TYPE_FP32 [-1, 4], and what a tokenizer makes of texts is input_ids"
            in refused(folder)
        )

    def test_labels_without_order_or_with_lines_in_them_are_left_out(self, folder: Path) -> None:
        for labels in ({"0": "a", "2": "b"}, {"0": "a\nb", "1": "c"}, "none"):
            with_graph(folder, {**CLASSIFIER, "id2label": labels})
            name = f"m{len(list(folder.parent.iterdir()))}"
            assert imported(folder, folder.parent / name, "--name", "m").exit_code == 0
            assert "label_filename" not in fields(folder.parent / name, "m")["output"][0]


class TestWeights:
    def test_vectors_of_sentences_are_those_of_the_architecture(self, folder: Path) -> None:
        more = {"pooler.dense.weight": torch.zeros(16, 16), "embeddings.position_ids": torch.zeros(24)}
        with_weights(folder, more=more)
        write(folder, "modules.json", MODULES)
        write(folder, "1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
        write(folder, "tokenizer_config.json", {"model_max_length": 10**30})
        write(folder, "sentence_bert_config.json", {"max_seq_length": 16})
        models = folder.parent / "models"
        assert imported(folder, models).exit_code == 0
        told = fields(models, "my-model")
        assert told["parameters"]["tokenizer"] == {"input": "text", "max_tokens": 16, "vocab_size": 50}
        network = told["parameters"]["torch"]
        assert (network["config"]["pooling"], network["config"]["normalize"]) == ("cls", False)
        assert network["unused_weights"] == ["embeddings.position_ids", "pooler.*"]
        assert verdict(models).refused is None
        assert answers(models, "good food")["sentence_embedding"].shape == (1, 16)

    def test_where_nothing_says_how_vectors_are_pooled_that_is_told(self, folder: Path) -> None:
        result = imported(with_weights(folder), folder.parent / "models")
        assert "their mean, brought to length 1" in result.stderr

    def test_what_the_architecture_does_not_do_is_refused(self, folder: Path) -> None:
        assert "hidden_act: is 'relu', not 'gelu'" in refused(with_weights(folder, {**BERT, "hidden_act": "relu"}))
        assert "num_hidden_layers: 1 to 1000" in refused(with_weights(folder, {**BERT, "num_hidden_layers": 10**12}))
        assert "hidden_size: must be a number" in refused(with_weights(folder, {**BERT, "hidden_size": "16"}))
        with_weights(folder)
        write(folder, "modules.json", [*MODULES, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}])
        assert "pools by mean_tokens or cls_token alone, not by Dense" in refused(folder)

    def test_weights_behind_a_prefix_are_refused_with_the_way_to_write_them_anew(self, folder: Path) -> None:
        message = refused(with_weights(folder, prefix="bert."))
        assert 'has all of them behind "bert.". Where transformers is installed, `AutoModel.from_pretrained' in message

    def test_a_file_that_holds_no_weights_is_refused(self, folder: Path) -> None:
        with_weights(folder)
        (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        assert "model.safetensors: is not a safetensors file" in refused(folder)


class TestOthers:
    def test_weights_of_another_network_are_refused_with_the_way_to_a_graph(self, folder: Path) -> None:
        message = refused(with_weights(folder, CLASSIFIER))
        assert "is a RobertaForSequenceClassification without an ONNX graph" in message
        assert f"`optimum-cli export onnx --task text-classification --model {folder} {folder}/onnx`" in message

    def test_a_folder_without_a_fast_tokenizer_or_a_configuration_is_refused(self, folder: Path) -> None:
        assert "config.json: cannot be read: No such file" in refused(folder)
        (folder / "tokenizer.json").unlink()
        assert "has no tokenizer.json; where transformers is installed" in refused(with_weights(folder))
        for content, told in (("[]", "must be an object"), ("[" * 100_000, "is not JSON"), ("{", "is not JSON")):
            (folder / "config.json").write_text(content)
            assert f"config.json: {told}" in refused(folder)

    @pytest.mark.parametrize("architectures", [5, "BertModel", [], None])
    def test_whatever_config_json_holds_is_answered_in_a_line(self, folder: Path, architectures: object) -> None:
        write(folder, "config.json", {"model_type": "t5", "architectures": architectures})
        assert "without an ONNX graph" in refused(folder)
