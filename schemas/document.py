"""The JSON of an input, whichever form it has, before it is held against a model's signature.

Every member is one that somebody reads, and is there once: what nobody reads is refused by its name.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from schemas.errors import InvalidInput
from schemas.jobs import Payload
from schemas.malformed import UNKNOWN_MEMBER, UTF8_BOM, did_you_mean, why_not_json
from schemas.members import members

# More digits than any size has would only slow down whoever prints them.
_Size = Annotated[int, msgspec.Meta(le=2**63 - 1)]


class InputTensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    shape: tuple[_Size, ...]
    datatype: str
    data: msgspec.Raw | UnsetType = UNSET
    parameters: dict[str, Any] = {}


class RequestedOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    parameters: dict[str, Any] = {}


class InputDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON of an input in any of its forms, of which it holds one: `inputs`, `instances` or `features`."""

    inputs: list[InputTensor] | UnsetType = UNSET
    instances: msgspec.Raw | UnsetType = UNSET
    features: msgspec.Raw | UnsetType = UNSET
    outputs: list[RequestedOutput] | UnsetType = UNSET
    id: str | UnsetType | None = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


FORMS: Final = ("inputs", "instances", "features")

# Says what to send instead, of what has none of the forms.
Hint = Callable[[], str]


_document_decoder = msgspec.json.Decoder(InputDocument)


def split(payload: Payload) -> tuple[memoryview, memoryview]:
    """The leading JSON, and the raw tensors after it."""
    view = memoryview(payload.value)
    start = len(UTF8_BOM) if payload.value.startswith(UTF8_BOM) else 0  # RFC 8259, section 8.1: it may be passed over
    if payload.json_length is None:
        return view[start:], view[len(view) :]
    if not 0 < payload.json_length <= len(view):
        raise InvalidInput(
            f"Inference-Header-Content-Length is {payload.json_length}, but the body has {len(view)} bytes",
            param="Inference-Header-Content-Length",
        )
    return view[start : payload.json_length], view[payload.json_length :]


def read_document(head: memoryview, hint: Hint = lambda: "") -> InputDocument:
    """The JSON of an input. Raises `InvalidInput` for what is none, and for members that nobody reads."""
    try:
        document = _document_decoder.decode(head)
    except msgspec.ValidationError as error:
        raise _not_a_document(error, head, hint) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"input is not valid JSON: {why_not_json(error, head)}", param="input") from error
    if (document.inputs is not UNSET) + (document.instances is not UNSET) + (document.features is not UNSET) != 1:
        found = " and ".join(name for name in FORMS if getattr(document, name) is not UNSET) or "none of them"
        told = f"input must hold exactly one of inputs, instances or features; found {found}"
        raise InvalidInput(told + (hint() if found == "none of them" else ""), param="input")
    return document


def plainly_typed(document: InputDocument) -> InputDocument:
    """The document itself; or where a datatype has the prefix that Triton's configuration gives it, one without."""
    tensors = [] if document.inputs is UNSET else document.inputs
    if not any(tensor.datatype.startswith(_PREFIX) for tensor in tensors):
        return document
    return msgspec.structs.replace(
        document, inputs=[msgspec.structs.replace(each, datatype=_plain(each.datatype)) for each in tensors]
    )


def _plain(datatype: str) -> str:
    bare = datatype.removeprefix(_PREFIX)
    return "BYTES" if bare == "STRING" else bare


_PREFIX: Final = "TYPE_"


def _not_a_document(error: msgspec.ValidationError, head: memoryview, hint: Hint) -> InvalidInput:
    unknown = UNKNOWN_MEMBER.search(str(error))
    path = _path(error)
    if unknown is not None:
        name = unknown[1][:64]
        param = f"{path}.{name}" if path else name
        where, taken = next((where, taken) for start, where, taken in _TAKEN if (path or "").startswith(start))
        if not path and not _has_form(head):
            told = f"input has none of {', '.join(FORMS)}, and {name!r} means nothing here"
            return InvalidInput(told + hint(), param=name)
        meant = did_you_mean(name, taken) or f"; {where} {', '.join(taken)}"
        return InvalidInput(f"{path or 'input'} has a member {name!r}, which nobody reads{meant}", param=param)
    if path is None:
        return InvalidInput(f"input must be a JSON object: {error}{hint()}", param="input")
    if _TENSORS.fullmatch(path) and "Expected" in str(error):
        told = f"inputs are a list of tensors, objects with a name, a shape, a datatype and data: {error}"
        return InvalidInput(told + hint(), param=path)
    return InvalidInput(f"not an inference request: {error}", param=path)


def _has_form(head: memoryview) -> bool:
    """Whether the object has a member that is named as a form. Of those with one name twice, neither is lost."""
    return any(name in FORMS for name, _ in members(bytes(head)))


_TENSORS: Final = re.compile(r"inputs(\[[^\]]*\])?")
_TAKEN: Final = (
    ("inputs", "a tensor has", InputTensor.__struct_fields__),
    ("outputs", "an output has", RequestedOutput.__struct_fields__),
    ("", "a job's options go into the envelope or the query, an input has", InputDocument.__struct_fields__),
)


def member_count(document: InputDocument) -> int:
    """How many members the objects of a document have, those within `instances`, `features` and parameters left out."""
    count = 1  # the form itself
    for tensor in document.inputs or ():
        count += 3 + (tensor.data is not UNSET) + bool(tensor.parameters) + len(tensor.parameters)
    for output in document.outputs or ():
        count += 1 + bool(output.parameters) + len(output.parameters)
    count += (document.outputs is not UNSET) + (document.id is not UNSET)
    return count + (document.parameters is not UNSET) + len(document.parameters or ())


def _path(error: msgspec.ValidationError) -> str | None:
    _, found, path = str(error).partition("`$")
    return path.strip("`.") or None if found else None
