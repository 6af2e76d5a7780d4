"""Whatever an input is, as the body of a request."""

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from penstock.client.inputs import JSON_LENGTH, Unnamed, as_body, tensors
from schemas.errors import InvalidInput
from schemas.jobs import OCTET_STREAM, Payload
from schemas.oip import parse_request
from schemas.signature import Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 2)), TensorSpec("name", "BYTES", (-1,))),
    outputs=(TensorSpec("y", "FP32", (-1,)),),
)


class Tensor:
    """As much of torch's as is asked for."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> "Tensor":
        return self

    def numpy(self) -> Any:
        return self._array


@pytest.mark.parametrize(
    ("inputs", "document"),
    [
        ([[1, 2]], {"instances": [[1, 2]]}),
        (([np.float32(1.5), np.int64(2)],), {"instances": [[1.5, 2]]}),
        ([np.array([1, 2])], {"instances": [[1, 2]]}),
        ({"features": [{"age": 5}]}, {"features": [{"age": 5}]}),
        ({"instances": ["water"]}, {"instances": ["water"]}),
    ],
)
def test_rows_and_objects_are_json(inputs: Any, document: Any) -> None:
    body = as_body(inputs)
    assert not isinstance(body, Unnamed)
    assert json.loads(body.content) == document
    assert body.headers == {"Content-Type": "application/json"}


def test_arrays_by_name_are_raw() -> None:
    x, names = np.array([[1, 2], [3, 4]], np.float32), np.array(["a", "größe"], object)
    body = as_body({"x": Tensor(x), "name": names})
    assert not isinstance(body, Unnamed)
    payload = Payload(body.content, OCTET_STREAM, int(body.headers[JSON_LENGTH]))
    request = parse_request(SIGNATURE, payload)
    assert np.array_equal(request.inputs["x"], x)
    assert request.inputs["name"].tolist() == [b"a", "größe".encode()]
    assert request.binary_outputs == {"y"}


@pytest.mark.parametrize("inputs", [np.zeros((2, 3)), Tensor(np.zeros((2, 3)))])
def test_an_array_alone_is_for_the_only_input(inputs: Any) -> None:
    body = as_body(inputs)
    assert isinstance(body, Unnamed)
    assert body.array.shape == (2, 3)


def test_images_are_png_or_jpeg() -> None:
    image = Image.new("L", (4, 4), 9)
    made = as_body(image)
    assert not isinstance(made, Unnamed)
    assert Image.open(io.BytesIO(made.content)).getpixel((0, 0)) == 9
    assert as_body(made.content) == (made.content, {"Content-Type": "image/png"})
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG")
    assert as_body(jpeg.getvalue()) == (jpeg.getvalue(), {"Content-Type": "image/jpeg"})


@pytest.mark.parametrize("inputs", [5, None, "water", b"water", object(), {"x": object()}, [object()]])
def test_what_is_no_input_is_refused(inputs: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        as_body(inputs)
    assert refused.value.param == "inputs"


def test_an_array_that_no_tensor_holds_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidInput, match="complex") as refused:
        tensors({"x": np.zeros(2, np.complex64)})
    assert refused.value.param == "x"
