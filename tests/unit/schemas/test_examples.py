"""Examples fit their models; and whoever sends another form is shown the one that fits."""

import json
from typing import Any

import pytest

from schemas.errors import InvalidInput, PenstockError
from schemas.examples import example_input, how_to_send
from schemas.inputs import check_input
from schemas.jobs import Payload
from schemas.signature import ImageSpec, Signature, TensorSpec

LABEL = (TensorSpec("label", "INT64", (-1,)),)
VECTOR = Signature((TensorSpec("rows", "FP32", (-1, 4)),), LABEL)
TEXT = Signature((TensorSpec("text", "BYTES", (-1,), text=True),), LABEL)
DIGITS = Signature((TensorSpec("image", "FP32", (-1, 8, 8)),), LABEL)
TOKENS = Signature((TensorSpec("id", "INT64", (-1, -1), vocab_size=10),), LABEL)
TABLE = Signature(
    (TensorSpec("x", "FP32", (-1, 5)),), LABEL, features=("age", "income", "height", "weight", "shoe size")
)
COLUMNS = Signature(
    (TensorSpec("age", "INT32", (-1,)), TensorSpec("city", "BYTES", (-1,)), TensorSpec("member", "BOOL", (-1, 1))),
    LABEL,
)
PICTURE = Signature((TensorSpec("pixels", "FP32", (-1, 3, 224, 224)),), LABEL, image=ImageSpec("pixels", 224, 224))
ALL = {
    "vector": VECTOR,
    "text": TEXT,
    "digits": DIGITS,
    "tokens": TOKENS,
    "table": TABLE,
    "columns": COLUMNS,
    "picture": PICTURE,
}


def refusal(signature: Signature, body: Any) -> PenstockError:
    with pytest.raises(InvalidInput) as refused:
        check_input(signature, Payload(json.dumps(body).encode()), lambda _: None)
    return refused.value


@pytest.mark.parametrize("name", ALL)
def test_an_example_is_taken_by_its_model(name: str) -> None:
    payload = Payload(json.dumps(example_input(ALL[name])).encode())
    assert check_input(ALL[name], payload, lambda _: None).rows == 1


def test_there_is_no_example_of_what_is_large() -> None:
    assert example_input(Signature((TensorSpec("x", "FP32", (-1, 64, 64)),), LABEL)) is None


@pytest.mark.parametrize("shape", [(1,) * 300, (0, 10**9), (2,) * 40], ids=["deep", "empty", "both"])
def test_there_is_no_example_that_cannot_be_written(shape: tuple[int, ...]) -> None:
    assert example_input(Signature((TensorSpec("x", "FP32", (-1, *shape)),), LABEL)) is None


@pytest.mark.parametrize("shape", [(4,) * 12, (2,) * 20, (3, 3, 3, 3)], ids=["wide", "deep", "usual"])
def test_of_lists_in_lists_little_is_shown(shape: tuple[int, ...]) -> None:
    assert len(how_to_send(Signature((TensorSpec("x", "FP32", (-1, *shape)),), LABEL))) < 500


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": "some text"},
        {"inputs": [[0.5, 0.5, 0.5, 0.5]]},
        {"inputs": ["a", "b"]},
        {"inputs": {"text": "a"}},
        [[0.5, 0.5, 0.5, 0.5]],
        ["a", "b"],
        "some text",
        {"data": [[1]]},
        {"text": "a"},
        {"prompt": "a"},
        {"input": "a"},
        {"instance": [1]},
        {"rows": [1]},
        {"age": 35},
        {},
    ],
)
@pytest.mark.parametrize("name", ALL)
def test_whoever_sends_another_form_is_shown_the_one_that_fits(name: str, body: Any) -> None:
    assert refusal(ALL[name], body).message.endswith(f"; {how_to_send(ALL[name])}")


TOLD = {
    "vector": """send {"instances": [[0.5, 0.5, 0.5, 0.5]]}, FP32 values of shape [4] a row, for the input 'rows'""",
    "text": """send {"instances": ["some text"]}, one text a row, for the input 'text'""",
    "digits": """send {"instances": [[[0.5, ...], ...]]}, FP32 values of shape [8, 8] a row, for the input 'image'""",
    "tokens": """send {"instances": [[0, ...]]}, INT64 values of shape [-1] (-1: any size) a row, for the input 'id'""",
    "table": """send {"features": {"age": 0.5, "income": 0.5, "height": 0.5, "weight": 0.5, ...}}, or a list of such """
    "objects, one a row",
    "columns": """send {"instances": [{"age": 0, "city": "some text", "member": [false]}]}, one object a row; """
    "'age' takes one INT32 value, 'city' takes one text, 'member' takes BOOL values of shape [1]",
    "picture": """send {"instances": [{"b64": "..."}]} with a PNG or JPEG in base64 a row, or the file itself as """
    """image/png or image/jpeg, or {"instances": [[[[0.5, ...], ...], [[0.5, ...], ...], [[0.5, ...], ...]]]} """
    "with its values",
}


@pytest.mark.parametrize("name", ALL)
def test_the_form_is_told_in_one_line(name: str) -> None:
    assert how_to_send(ALL[name]) == TOLD[name]


def test_what_has_a_form_is_told_its_own_mistake() -> None:
    assert "did you mean" in refusal(VECTOR, {"instances": [[1, 2, 3, 4]], "parameter": {}}).message
    assert refusal(VECTOR, {"inputs": [{"name": "rows", "shape": [1, 4]}]}).message == (
        "not an inference request: Object missing required field `datatype` - at `$.inputs[0]`"
    )
    assert "found inputs and instances" in refusal(VECTOR, {"inputs": [], "instances": []}).message
