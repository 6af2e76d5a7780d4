"""From a folder that transformers or sentence-transformers saved a model of texts in, to a model's folder.

Neither library is needed, and nothing in the folder is run: a graph and weights are data. Source of the names: the
files themselves (config.json, tokenizer_config.json, modules.json and those beside them).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from penstock.importing.graph import Graph, GraphTensor, read_graph
from penstock.importing.huggingface_bert import bert_fields, read_json
from penstock.importing.model_folder import ModelFolder, model_name
from schemas.errors import ConfigurationError
from workers.inference.models.labels import labels_text

TEXT: Final = "text"
TOKENIZER: Final = "tokenizer.json"
LABELS: Final = "labels.txt"
WEIGHTS: Final = "model.safetensors"
GRAPHS: Final = ("model.onnx", "onnx/model.onnx")
TOKENS: Final = ("input_ids", "attention_mask", "token_type_ids")
# What a graph may answer with a row a text; of those it has, the first is taken.
BY_TEXT: Final = ("sentence_embedding", "logits")
MAX_COST: Final = 8192  # tokens of a micro-batch, padding included
MOST_TOKENS: Final = 512
# Networks that number the places of their tokens behind that of padding, so that two fewer fit.
_OFFSET_PLACES: Final = frozenset(["camembert", "mpnet", "roberta", "xlm-roberta"])


def read_huggingface(directory: Path, name: str | None, version: str, max_batch_size: int) -> ModelFolder:
    """Read the model in `directory`: its ONNX graph where one lies there, else BERT's weights as vectors of sentences.

    Raises `ConfigurationError` for what is neither, naming what would make it one.
    """
    config = read_json(directory / "config.json")
    if not (directory / TOKENIZER).is_file():
        raise ConfigurationError(
            f"{directory}: has no {TOKENIZER}; where transformers is installed, "
            "`AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)` writes it"
        )
    notes: list[str] = []
    called = model_name(name, directory.resolve().name, notes)
    file = next((directory / path for path in GRAPHS if (directory / path).is_file()), None)
    graph = None if file is None else read_graph(file)
    texts: dict[str, str] = {}
    if file is not None and graph is not None and (_answers_by_text(graph) or not _is_bert(directory, config)):
        fields, texts = _graph_fields(file, graph, config, notes)
        files = {path.name: path for path in file.parent.glob("model.onnx*")}  # large weights stand beside the graph
    elif _is_bert(directory, config):
        fields, files = bert_fields(directory, config, notes), {WEIGHTS: directory / WEIGHTS}
    else:
        raise ConfigurationError(_refusal(directory, config))
    tokens = [] if graph is None or file is None else [each.name for each in graph.inputs]
    whole = {
        "name": called,
        "platform": fields["platform"],
        "max_batch_size": max_batch_size,
        "input": [{"name": TEXT, "data_type": "TYPE_STRING", "dims": []}],
        **{key: value for key, value in fields.items() if key not in {"platform", "parameters"}},
        "dynamic_batching": {"max_cost": MAX_COST},
        "parameters": {
            "tokenizer": _tokenizer(directory, config, tokens if fields["platform"] == "onnxruntime_onnx" else []),
            **fields.get("parameters", {}),
        },
    }
    within = {f"{version}/{path}": source for path, source in {**files, TOKENIZER: directory / TOKENIZER}.items()}
    return ModelFolder(whole, directory, within, notes, texts)


def _answers_by_text(graph: Graph) -> bool:
    return any(tensor.name in BY_TEXT for tensor in graph.outputs)


def _is_bert(directory: Path, config: Mapping[str, Any]) -> bool:
    """Whether there are weights of a network that gives a vector a text, and has no head upon it."""
    bare = config.get("architectures") in (None, ["BertModel"])
    return config.get("model_type") == "bert" and bare and (directory / WEIGHTS).is_file()


def _graph_fields(
    file: Path, graph: Graph, config: Mapping[str, Any], notes: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Fields of model.yaml, and texts of files beside it."""
    strange = [f"{each.name} {each.data_type} {list(each.shape)}" for each in graph.inputs if not _is_tokens(each)]
    if strange:
        raise ConfigurationError(
            f"{file}: takes {', '.join(strange)}, and what a tokenizer makes of texts is {', '.join(TOKENS)}, all "
            "TYPE_INT64 [-1, -1]: write a model.yaml by hand (docs/models.md)"
        )
    outputs = [tensor for tensor in graph.outputs if tensor.name == _taken(graph)] or graph.outputs
    dropped = [tensor.name for tensor in graph.outputs if tensor not in outputs]
    if dropped:
        notes.append(f"outputs {', '.join(dropped)}: left behind")
    labels = _labels(config)
    labels_file = labels_text(labels)
    texts, told, by_token = {}, [], {}
    for tensor in outputs:
        dims = _dims(tensor, len(labels))
        output = {"name": tensor.name, "data_type": tensor.data_type, "dims": dims}
        if labels_file is not None and tensor.name == "logits" and dims[-1:] == [len(labels)]:
            output["label_filename"] = LABELS
            texts[LABELS] = labels_file
        if -1 in dims:
            by_token[tensor.name] = TEXT
        told.append(output)
    if by_token:
        notes.append(f"{', '.join(by_token)}: has a row a token of the text")
    if any(tensor.name == "logits" for tensor in outputs):
        notes.append("logits are scores, not probabilities: the greatest is the likeliest")
    fields = {"platform": "onnxruntime_onnx", "output": told}
    return {**fields, **({"padding": {"outputs": by_token}} if by_token else {})}, texts


def _is_tokens(tensor: GraphTensor) -> bool:
    return tensor.name in TOKENS and tensor.data_type == "TYPE_INT64" and len(tensor.shape) == 2


def _taken(graph: Graph) -> str | None:
    names = {tensor.name for tensor in graph.outputs}
    return next((name for name in BY_TEXT if name in names), None)


def _dims(tensor: GraphTensor, labels: int) -> list[int]:
    dims = list(tensor.shape[1:])
    if tensor.name == "logits" and dims[-1:] == [-1] and labels:
        dims[-1] = labels  # the exporter need not have known
    return dims


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes by their numbers, where they have names that can stand in a line each."""
    given = config.get("id2label")
    if not isinstance(given, Mapping):
        return ()
    labels = tuple(str(given.get(str(number))) for number in range(len(given)))
    numbered = set(given) == {str(number) for number in range(len(given))}
    return labels if numbered and labels_text(labels) is not None else ()


def _tokenizer(directory: Path, config: Mapping[str, Any], tokens: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {"input": TEXT, "max_tokens": _max_tokens(directory, config)}
    if isinstance(config.get("vocab_size"), int):
        fields["vocab_size"] = config["vocab_size"]
    produces = [name for name in TOKENS if name in tokens]
    return {**fields, **({"produces": produces} if produces and produces != list(TOKENS[:2]) else {})}


def _max_tokens(directory: Path, config: Mapping[str, Any]) -> int:
    """The least that any of the files says. A tokenizer that knows no bound says a number of thirty digits."""
    places = config.get("max_position_embeddings", MOST_TOKENS)
    if isinstance(places, int) and str(config.get("model_type")) in _OFFSET_PLACES:
        places -= 2
    said = [
        places,
        read_json(directory / "tokenizer_config.json", missing={}).get("model_max_length"),
        read_json(directory / "sentence_bert_config.json", missing={}).get("max_seq_length"),
    ]
    return min([each for each in said if isinstance(each, int) and each > 0], default=MOST_TOKENS)


def _refusal(directory: Path, config: Mapping[str, Any]) -> str:
    """What it is, and the one way that every model of texts can take."""
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else config.get("model_type")
    tasks = {"ForSequenceClassification": "text-classification", "ForTokenClassification": "token-classification"}
    task = next((task for ending, task in tasks.items() if str(architecture).endswith(ending)), "feature-extraction")
    return (
        f"{directory}: is a {architecture} without an ONNX graph (model.onnx or onnx/model.onnx). Of weights alone "
        f"only BertModel's are taken, as {WEIGHTS}. Where optimum-onnx is installed, `optimum-cli export onnx "
        f"--task {task} --model {directory} {directory / 'onnx'}` writes the graph; a handler can run anything else "
        "(docs/handlers.md)"
    )
