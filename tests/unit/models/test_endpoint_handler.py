"""A handler.py for Hugging Face's Inference Endpoints is served as it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigurationError, OutputInvalid, TransientFailure
from schemas.tensors import Array
from tests.unit.models.handlers import TEXT, VALUES, scan, write_handler
from workers.inference.backends import Backend, load_backend
from workers.inference.execution.bad_rows import BadRows

ANSWER = {"name": "answer", "data_type": "TYPE_STRING", "dims": []}
LABEL = {"name": "label", "data_type": "TYPE_STRING", "dims": []}
SCORE = {"name": "score", "data_type": "TYPE_FP64", "dims": []}
ECHO = """
    from typing import Any, Dict

    class EndpointHandler:
        def __init__(self, path=""):
            self.path = path
            self.calls = 0

        def __call__(self, data: Dict[str, Any]) -> Any:
            self.calls += 1
            inputs = data.pop("inputs", data)
            parameters = data.pop("parameters", None)
            return {"inputs": inputs, "parameters": parameters, "call": self.calls}
"""
SENTIMENT = """
    class EndpointHandler:
        def __init__(self, path=""):
            with open(path + "/word.txt") as file:
                self.word = file.read()
        def __call__(self, data):
            def pipeline(text):
                return {"label": "POSITIVE" if self.word in text else "NEGATIVE", "score": 0.5, "more": object()}
            inputs = data["inputs"]
            return [pipeline(each) for each in inputs] if isinstance(inputs, list) else [pipeline(inputs)]
"""


def load(root: Path, handler: str, endpoint: dict[str, Any] | None = None, **changes: Any) -> Backend:
    fields: dict[str, Any] = {
        "platform": "huggingface_endpoint",
        "parameters": {"endpoint": endpoint or {}},
        "input": [TEXT],
        "output": [ANSWER],
        **changes,
    }
    write_handler(root, {"handler.py": handler, "word.txt": "good"}, **fields)
    return load_backend(scan(root), "cpu")


def texts(*values: str | bytes) -> dict[str, Array]:
    return {"text": np.array(values, dtype=object)}


def answers(outputs: dict[str, Array]) -> list[Any]:
    return [json.loads(text) for text in outputs["answer"]]


class TestJsonAnswers:
    def test_each_row_is_a_call_with_data_of_its_own(self, tmp_path: Path) -> None:
        backend = load(tmp_path, ECHO)
        assert answers(backend.run(texts("a", b"b"), {"top_k": 2})) == [
            {"inputs": "a", "parameters": {"top_k": 2}, "call": 1},
            {"inputs": "b", "parameters": {"top_k": 2}, "call": 2},
        ]

    def test_numbers_come_as_a_json_body_would_bring_them(self, tmp_path: Path) -> None:
        backend = load(tmp_path, ECHO, input=[VALUES])
        outputs = backend.run({"values": np.array([[1, 2], [3, 4]], np.float32)})
        assert [answer["inputs"] for answer in answers(outputs)] == [[1.0, 2.0], [3.0, 4.0]]

    def test_several_inputs_come_by_name(self, tmp_path: Path) -> None:
        question, context = ({**TEXT, "name": name} for name in ("question", "context"))
        backend = load(tmp_path, ECHO, input=[question, context])
        outputs = backend.run({"question": texts("who?")["text"], "context": texts("me")["text"]})
        assert answers(outputs)[0]["inputs"] == {"question": "who?", "context": "me"}

    def test_a_batched_handler_is_called_once_a_micro_batch(self, tmp_path: Path) -> None:
        handler = """
            class EndpointHandler:
                def __init__(self, path=""):
                    pass
                def __call__(self, data):
                    return [f"{text} of {len(data['inputs'])}" for text in data["inputs"]]
        """
        backend = load(tmp_path, handler, {"batched": True})
        assert answers(backend.run(texts("a", "b"))) == ["a of 2", "b of 2"]

    def test_a_batched_handler_answers_every_row(self, tmp_path: Path) -> None:
        backend = load(tmp_path, ECHO, {"batched": True})
        with pytest.raises(OutputInvalid, match="did not answer 2 inputs with a list of as many answers"):
            backend.run(texts("a", "b"))

    def test_bytes_that_are_no_text_stay_bytes(self, tmp_path: Path) -> None:
        handler = """
            class EndpointHandler:
                def __init__(self, path=""):
                    pass
                def __call__(self, data):
                    return type(data["inputs"]).__name__
        """
        assert answers(load(tmp_path, handler).run(texts(b"\xff", b"a"))) == ["bytes", "str"]

    def test_a_row_whose_call_fails_is_named_and_the_others_are_answered(self, tmp_path: Path) -> None:
        handler = """
            class EndpointHandler:
                def __init__(self, path=""):
                    pass
                def __call__(self, data):
                    return 1 / len(data["inputs"])
        """
        with pytest.raises(BadRows) as caught:
            load(tmp_path, handler).run(texts("a", "", "four"))
        assert [(row, str(error)) for row, error in caught.value.errors.items()] == [
            (1, "sums/1 failed on this input (ZeroDivisionError)")
        ]
        assert caught.value.outputs is not None
        assert answers(dict(caught.value.outputs)) == [1.0, 0.25]

    def test_a_service_that_is_away_is_asked_once(self, tmp_path: Path) -> None:
        handler = """
            class EndpointHandler:
                def __init__(self, path=""):
                    self.calls = 0
                def __call__(self, data):
                    self.calls += 1
                    if data["inputs"] == "away":
                        raise ConnectionError
                    return self.calls
        """
        backend = load(tmp_path, handler)
        with pytest.raises(TransientFailure):
            backend.run(texts("away", "away", "away"))
        assert answers(backend.run(texts("here"))) == [2]

    def test_an_answer_that_is_no_json_is_refused(self, tmp_path: Path) -> None:
        backend = load(tmp_path, SENTIMENT)
        with pytest.raises(OutputInvalid, match="the handler's answer cannot be written as JSON"):
            backend.run(texts("good"))


class TestFields:
    @pytest.mark.parametrize("batched", [False, True])
    def test_outputs_are_taken_from_the_answers_by_name(self, tmp_path: Path, batched: bool) -> None:
        backend = load(tmp_path, SENTIMENT, {"answer": "fields", "batched": batched}, output=[LABEL, SCORE])
        outputs = backend.run(texts("good", "bad"))
        assert outputs["label"].tolist() == ["POSITIVE", "NEGATIVE"]
        assert outputs["score"].tolist() == [0.5, 0.5]

    def test_a_field_that_is_missing_is_told(self, tmp_path: Path) -> None:
        backend = load(tmp_path, ECHO, {"answer": "fields"}, output=[LABEL])
        with pytest.raises(OutputInvalid, match="gave no output 'label'"):
            backend.run(texts("good"))

    def test_an_answer_without_fields_is_told(self, tmp_path: Path) -> None:
        handler = "class EndpointHandler:\n  def __init__(self, path): ...\n  def __call__(self, data): return 1"
        backend = load(tmp_path, handler, {"answer": "fields"}, output=[LABEL])
        with pytest.raises(OutputInvalid, match="the handler answered int, not outputs by name"):
            backend.run(texts("good"))


def test_a_handler_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be loaded: TypeError: "):
        load(tmp_path, "class EndpointHandler: pass")
