"""The line that `up` suggests for a model of the user's: pasted into a shell, it sends what the model takes."""

import subprocess
from pathlib import Path

import pytest

from penstock.example_request import curl_for
from schemas.inputs import check_input
from schemas.jobs import Payload
from schemas.signature import ImageSpec, Signature, TensorSpec

URL = "http://127.0.0.1:8080"
# In place of curl: writes down its arguments, and what it is to send.
STUB = """#!/bin/sh
printf "%s\\n" "$@" > arguments
for last; do :; done
if [ "$last" = @- ]; then cat > body; else printf %s "$last" > body; fi
"""
PIXELS = TensorSpec("image", "FP32", (-1, 3, 224, 224))


def numbers(*row_shape: int, name: str = "x") -> TensorSpec:
    return TensorSpec(name, "FP32", (-1, *row_shape))


def one(*inputs: TensorSpec, features: tuple[str, ...] = ()) -> Signature:
    return Signature(inputs=inputs, outputs=(numbers(name="y"),), features=features)


def pasted(line: str, folder: Path) -> tuple[list[str], bytes]:
    """The arguments of curl and its body."""
    stub = folder / "curl"
    stub.write_text(STUB)
    stub.chmod(0o700)
    subprocess.run(["/bin/sh", "-c", line], cwd=folder, env={"PATH": f"{folder}:/usr/bin:/bin"}, check=True)
    return (folder / "arguments").read_text().splitlines(), (folder / "body").read_bytes()


@pytest.mark.parametrize(
    "signature",
    [
        one(numbers(4)),
        one(numbers(8, 8)),
        one(numbers(3, 224, 224)),
        one(numbers()),
        one(numbers(-1, 16)),
        one(numbers(2, name="left"), TensorSpec("right", "INT64", (-1,)), TensorSpec("on", "BOOL", (-1, 2))),
        one(TensorSpec("ids", "INT64", (-1, -1), vocab_size=1), TensorSpec("mask", "INT64", (-1, -1))),
        one(TensorSpec("text", "BYTES", (-1,), text=True, max_tokens=16)),
        one(TensorSpec("pair", "BYTES", (-1, 2))),
        one(numbers(2), features=("it's", "mean radius")),
        one(numbers(90), features=tuple(f"gene {number}" for number in range(90))),
        one(numbers(20_000), features=tuple(f"gene {number}" for number in range(20_000))),
        Signature((PIXELS,), (numbers(),), image=ImageSpec("image", 224, 224)),
        Signature((PIXELS, numbers(2)), (numbers(),), image=ImageSpec("image", 224, 224)),
    ],
    ids=lambda signature: ",".join(f"{spec.name}{list(spec.shape)}" for spec in signature.inputs),
)
def test_what_is_pasted_sends_one_row_that_the_model_takes(tmp_path: Path, signature: Signature) -> None:
    line = curl_for(URL, "mine", signature)
    assert line is not None
    assert "\n" not in line
    arguments, body = pasted(line, tmp_path)
    assert f"{URL}/v1/models/mine/jobs" in arguments
    headers = dict(text.split(": ") for text in arguments if ": " in text and not text.startswith("{"))
    json_length = headers.get("Inference-Header-Content-Length")
    payload = Payload(body, headers["Content-Type"], int(json_length) if json_length else None)
    assert check_input(signature, payload, lambda _: None).rows == 1


def test_nothing_is_made_up_for_thousands_of_texts() -> None:
    assert curl_for(URL, "mine", one(TensorSpec("texts", "BYTES", (-1, 1000)))) is None
