"""Whatever an input holds, it is read or refused: nothing but a refusal ever leaves the check."""

import io
import json
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from schemas.errors import PenstockError
from schemas.jobs import Payload
from schemas.oip import parse_request
from schemas.signature import ImageSpec, Signature, TensorSpec
from tests.examples import examples
from tests.unit.schemas.reading import checked

# Pillow warns of broken EXIF data where it reads it for itself.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
MANY = examples(300)

Y = (TensorSpec("y", "FP32", (-1,)), TensorSpec("label", "BYTES", (-1,)))
SIGNATURES = (
    Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=Y, features=("age", "height")),
    Signature(inputs=(TensorSpec("x", "FP16", (-1, -1), allow_nan=True),), outputs=Y),
    Signature(inputs=(TensorSpec("x", "INT64", (-1,)), TensorSpec("name", "BYTES", (-1, 1))), outputs=Y),
    Signature(inputs=(TensorSpec("x", "BOOL", (-1, 1)),), outputs=Y),
    Signature(inputs=(TensorSpec("name", "BYTES", (-1,)),), outputs=Y),
    Signature(
        inputs=(TensorSpec("x", "FP32", (-1, 3, 4, 4)),), outputs=Y, image=ImageSpec("x", 4, 4, layout="CHW")
    ),
    Signature(
        inputs=(TensorSpec("x", "UINT8", (-1, 4, 4)),),
        outputs=Y,
        image=ImageSpec("x", 4, 4, mode="L", layout="HW", scale=1.0),
    ),
)  # fmt: skip
signatures = st.sampled_from(SIGNATURES)


def read_or_refused(signature: Signature, payload: Payload) -> None:
    """Read, and then read by a worker, too; or refused with something that the sender can mend."""
    refusal: PenstockError | None = None
    try:
        taken = checked(signature, payload)
    except PenstockError as error:
        refusal = error
    else:
        assert parse_request(signature, taken.payload).rows == taken.rows >= 1
    if refusal is not None:
        assert 400 <= refusal.status < 500
        assert 0 < len(refusal.body().message) <= 2000


HUGE = "1" + "0" * 5000
names = st.sampled_from(["x", "name", "y", "age", "height", "b64", "inputs", "data", "parameters", ""]) | st.text(
    max_size=3
)
numbers = st.sampled_from(["0", "-0", "1e39", "-1e400", HUGE, "NaN", "-Infinity", "2" * 20, "0.5", "-1", "255"])
scalars = (
    numbers
    | st.sampled_from(["null", "true", '"\\ud800"', '"\\udc00x"', '"\\u0000"', '"aGk="', "nul", ""])
    | st.text(max_size=4).map(json.dumps)
)


def in_list(values: list[str]) -> str:
    return "[" + ",".join(values) + "]"


def in_object(members: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members) + "}"


values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4).map(in_list)
    | st.lists(st.tuples(names, inner), max_size=3).map(in_object),
    max_leaves=8,
)  # fmt: skip
sizes = st.sampled_from(["-1", "0", "1", "2", "4", str(2**31), str(2**63 - 1), str(2**64), HUGE, "1.5"])
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(['"x"', '"name"']) | values,
        "shape": st.lists(sizes, max_size=4).map(in_list) | values,
        "datatype": st.sampled_from(['"FP32"', '"FP16"', '"INT64"', '"BYTES"', '"BOOL"', '"UINT8"']) | values,
    },
    optional={
        "data": values,
        "parameters": sizes.map(lambda size: f'{{"binary_data_size":{size}}}') | values,
        "other": values,
    },
).map(lambda members: in_object(list(members.items())))
documents = (
    st.lists(st.tuples(st.sampled_from(["inputs", "instances", "features", "outputs", "id", "parameters"]), values))
    | st.lists(tensors, max_size=3).map(lambda each: [("inputs", in_list(each))])
).map(in_object)


@MANY
@given(signatures, documents)
def test_any_json(signature: Signature, document: str) -> None:
    read_or_refused(signature, Payload(document.encode("utf-8", "surrogatepass")))


@MANY
@given(signatures, documents, st.binary(max_size=40), st.integers(-2, 400) | st.none())
def test_any_json_with_any_tail(signature: Signature, document: str, tail: bytes, length: int | None) -> None:
    head = document.encode("utf-8", "surrogatepass")
    length = len(head) if length is None else length
    read_or_refused(signature, Payload(head + tail, "application/octet-stream", length))


@MANY
@given(signatures, st.binary(max_size=200), st.sampled_from(["application/json", "image/png", "image/jpg", "a/b", ""]))
def test_any_bytes(signature: Signature, body: bytes, content_type: str) -> None:
    read_or_refused(signature, Payload(body, content_type))


def png(mode: str, *chunks: tuple[bytes, bytes]) -> bytes:
    """A small picture with more chunks after its head."""
    file = io.BytesIO()
    Image.new(mode, (16, 16), 3).save(file, "PNG")
    added = b"".join(
        len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4) for kind, content in chunks
    )
    return file.getvalue()[:33] + added + file.getvalue()[33:]


def jpeg(*, progressive: bool) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x8769] = {1: 2}
    Image.new("RGB", (16, 16)).save(file, "JPEG", exif=exif, progressive=progressive)
    return file.getvalue()


CHUNKS = [b"eXIf", b"iCCP", b"gAMA", b"pHYs", b"tRNS", b"zTXt", b"iTXt", b"tEXt", b"acTL", b"fcTL", b"PLTE", b"IHDR"]
XMP = b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation"
CONTENTS = [
    b"",
    b"\0",
    b"II*\0\x08\0\0\0\xff\xff",
    b"Exif\0\0II*\0",
    b"x" * 50,
    b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation",
]
PICTURES = [
    *(png(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(png("RGBA", (kind, content)) for kind in CHUNKS for content in CONTENTS),
    jpeg(progressive=False),
    jpeg(progressive=True),
]


def with_sums(data: bytes) -> bytes:
    """The PNG with checksums that are right, so that what was changed in it is looked at."""
    parts, position = [data[:8]], 8
    while position + 12 <= len(data):
        size = int.from_bytes(data[position : position + 4])
        chunk = data[position + 4 : position + 8 + size]
        if position + 12 + size > len(data):
            break
        parts.append(data[position : position + 4] + chunk + zlib.crc32(chunk).to_bytes(4))
        position += 12 + size
    return b"".join([*parts, data[position:]])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(PICTURES)))
    for place, byte in draw(st.lists(st.tuples(st.integers(8, len(data) - 1), st.integers(0, 255)), max_size=8)):
        data[place] = byte
    whole = bytes(data)
    whole = with_sums(whole) if whole.startswith(b"\x89PNG") else whole
    return whole[: draw(st.integers(8, len(whole)))] if draw(st.booleans()) else whole


@MANY
@example(png("RGBA", (b"eXIf", b"II*\0\x08\0\0\0\xff\xff")))
@given(damaged())
def test_any_damaged_picture(data: bytes) -> None:
    for signature in SIGNATURES[-2:]:
        read_or_refused(signature, Payload(data, "image/png"))


@pytest.mark.parametrize("data", PICTURES)
def test_any_odd_picture(data: bytes) -> None:
    read_or_refused(SIGNATURES[-1], Payload(data, "image/png"))


@pytest.mark.parametrize("error", [MemoryError, RecursionError, SyntaxError, OverflowError, KeyError])
def test_whatever_a_decoder_raises_is_a_refusal(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr("schemas.inputs.read_document", fail)
    monkeypatch.setattr("schemas.oip.read_document", fail)
    for read in (checked, parse_request):
        with pytest.raises(PenstockError) as caught:
            read(SIGNATURES[0], Payload(b"{}"))
        assert caught.value.status in (400, 413)
        assert isinstance(caught.value.__cause__, error)
