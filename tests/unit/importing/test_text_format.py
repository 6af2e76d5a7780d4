"""Protocol buffers' text format, held against the grammar that they publish."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Any, Final

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Type
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from penstock.importing.fields import Fields
from penstock.importing.text_format import Message, parse_text_format
from schemas.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", {}),
        ('name: "m"', {"name": ["m"]}),
        ("dims: 1 dims: -1", {"dims": [1, -1]}),
        ("dims: [ 1, - 2, 3 ]", {"dims": [1, -2, 3]}),
        ("dims: []", {"dims": []}),
        ("dims [ 3 ]; kind: KIND_GPU,", {"dims": [3], "kind": ["KIND_GPU"]}),
        ("input { name: 'x' } input { name: 'y' }", {"input": [{"name": ["x"]}, {"name": ["y"]}]}),
        ("input [ { name: 'x' }, { name: 'y' } ]", {"input": [{"name": ["x"]}, {"name": ["y"]}]}),
        ("input: < name: 'x' >", {"input": [{"name": ["x"]}]}),
        ("a: true b: false c: 0x1F d: 017 e: 0 f: 1.5e3 g: .5f", {"a": ["true"], "b": ["false"]}
         | {"c": [31], "d": [15], "e": [0], "f": [1500.0], "g": [0.5]}),
        ("# a word\nname: 'a' # and another\n 'b' \"c\"", {"name": ["abc"]}),
        (r"""s: 'tab\tquote\'\x41\102\u00e9\\n'""", {"s": ["tab\tquote'AB\u00e9\\n"]}),
        ("dynamic_batching { }", {"dynamic_batching": [{}]}),
        ("dims: [1, 2] dims: 3", {"dims": [1, 2, 3]}),
        ("a: [true, False]; b: t, c: 0", {"a": ["true", "False"], "b": ["t"], "c": [0]}),
        ("a: [<b: 1>, {b: 2}] a <>", {"a": [{"b": [1]}, {"b": [2]}, {}]}),
        (r"""s: "\303\251\xc3\xa9" s: '\?\a\b\v'""", {"s": ["\u00e9\u00e9", "?\a\b\v"]}),
        (r"""s: '\U0001F600\ud83d\ude00'""", {"s": ["\U0001F600\U0001F600"]}),
        (r"""s: ["a" 'b', "\0"]""", {"s": ["ab", "\0"]}),
        ("a: 1.f b: 10F c: 1e+3 d: 0.5e-1f e: 0X1f", {"a": [1.0], "b": [10.0], "c": [1000.0], "d": [0.05], "e": [31]}),
        ("a: -inf b: - Infinity c: inf d: -0x10", {"a": [-inf], "b": [-inf], "c": ["inf"], "d": [-16]}),
        ("[pkg.sub.name]: 5 [ pkg . x ] { y: 1 }", {"[pkg.sub.name]": [5], "[pkg.x]": [{"y": [1]}]}),
        ("any { [type.googleapis.com/a.b-1.C] { v: 1 } }", {"any": [{"[type.googleapis.com/a.b-1.C]": [{"v": [1]}]}]}),
        ("end: 1 inf: 2 true { }", {"end": [1], "inf": [2], "true": [{}]}),
        ("a\t\v\f\r\n:#'\n1# the end", {"a": [1]}),
    ],
)  # fmt: skip
def test_what_the_grammar_allows_is_read(text: str, message: object) -> None:
    assert parse_text_format(text, "config.pbtxt") == message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name 'm'", "line 1, column 6: a colon is expected, not \"'m'\""),
        ("a: 1\n  b: }", "line 2, column 6: a value is expected, not '}'"),
        ("a {\n b: 1", "line 2, column 6: a field's name is expected, not 'end'"),
        ("a: 1 }", "line 1, column 6: a field's name is expected, not '}'"),
        ("a { b: 1 >", "column 10: a field's name is expected, not '>'"),
        ("a: [1 2]", "column 7: a comma or the list's end is expected, not '2'"),
        ("a: [1", "a comma or the list's end is expected, not 'end'"),
        ("a: 'open\n'", 'column 4: "\'" is not understood'),
        ("a: 12abc", "column 4: '1' is not understood"),
        ("a: $", "column 4: '$' is not understood"),
        ("a: -x", "a value is expected, not '-'"),
        ("a: -'1'", "a value is expected, not '-'"),
        ("a: 09", "'0' is not understood"),
        ("a: 01.5", "'0' is not understood"),
        ("a: [1,]", "a value is expected, not ']'"),
        ("a: [[1]]", "a value is expected, not '['"),
        ("a: 1,, b: 2", "a field's name is expected, not ','"),
        ("[a: 1", "column 1: a field's name is expected, not '['"),
        ("[]: 1", "column 1: a field's name is expected, not '['"),
        ("a: " + "9" * 5000, "a number of 5000 digits is too long"),
        (r"a: '\q'", r"column 5: '\\q' is no escape"),
        (r"a: '\ud83d'", "is no escape"),
        (r"a: '\U00110000'", "is no escape"),
        (r"a: '\777'", "is no escape"),
        (r"a: '\xff'", "column 4: a string is not UTF-8"),
        ("a: 'x\0'", "is not understood"),
        ("a {" * 100, "more than 64 messages within each other"),
    ],
)
def test_what_it_does_not_allow_is_told_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_text_format(text, "config.pbtxt")
    assert caught.value.message.startswith("config.pbtxt, line ")
    assert problem in caught.value.message


FIELDS: Final[Mapping[str, tuple[Any, Any]]] = {
    "text": (Type.TYPE_STRING, st.text()),
    "whole": (Type.TYPE_INT64, st.integers(-(2**63), 2**63 - 1)),
    "natural": (Type.TYPE_UINT32, st.integers(0, 2**32 - 1)),
    "ratio": (Type.TYPE_DOUBLE, st.floats(allow_nan=False)),
    "flag": (Type.TYPE_BOOL, st.booleans()),
    "kind": (Type.TYPE_ENUM, st.integers(0, 1)),
}
KINDS: Final = ("KIND_CPU", "KIND_GPU")


def schema() -> Any:
    """A message with a field of each type, repeated, and with `inner` messages like it; as protocol buffers have it."""
    file = FileDescriptorProto(name="m.proto", package="m", syntax="proto3")
    kinds = file.enum_type.add(name="Kind")
    for number, word in enumerate(KINDS):
        kinds.value.add(name=word, number=number)
    message = file.message_type.add(name="M")
    for number, (name, (kind, _)) in enumerate(FIELDS.items(), 1):
        type_name = ".m.Kind" if name == "kind" else None
        message.field.add(name=name, number=number, type=kind, label=Type.LABEL_REPEATED, type_name=type_name)
    message.field.add(name="inner", number=15, type=Type.TYPE_MESSAGE, label=Type.LABEL_REPEATED, type_name=".m.M")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("m.M"))


MESSAGE: Final = schema()
flat = st.fixed_dictionaries({}, optional={name: st.lists(values, min_size=1) for name, (_, values) in FIELDS.items()})
nested = st.recursive(
    flat,
    lambda inner: st.tuples(flat, st.lists(inner, min_size=1)).map(lambda both: {**both[0], "inner": both[1]}),
    max_leaves=8,
)


@given(nested, st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_whatever_protocol_buffers_themselves_write_is_read_as_it_was(
    content: dict[str, Any], in_utf8: bool, on_one_line: bool, pointed: bool, in_lists: bool
) -> None:
    text = text_format.MessageToString(
        MESSAGE(**content),
        as_utf8=in_utf8,
        as_one_line=on_one_line,
        pointy_brackets=pointed,
        use_short_repeated_primitives=in_lists,
    )
    assert parse_text_format(text, "m") == as_written(content)


def as_written(content: dict[str, Any]) -> Message:
    """Of booleans, enumerations and infinity the words."""

    def word(name: str, value: Any) -> Any:
        match name:
            case "flag":
                return "true" if value else "false"
            case "kind":
                return KINDS[value]
            case "ratio" if value == inf:
                return "inf"
            case "inner":
                return as_written(value)
        return value

    return {name: [word(name, value) for value in values] for name, values in content.items()}


def test_fields_are_asked_for_by_their_types() -> None:
    message = parse_text_format("a: True b: f c: 1 d: KIND_GPU e: 1 f: 'true' n: [1, 2]", "m")
    fields = Fields(message, "m")
    assert [fields.flag(name) for name in "abcx"] == [True, False, True, False]
    assert [fields.word(name, dict(enumerate(KINDS))) for name in "dex"] == ["KIND_GPU", "KIND_GPU", ""]
    assert (fields.text("f"), fields.text("x", "y"), fields.integers("n"), fields.integer("n")) == (
        "true",
        "y",
        [1, 2],
        2,
    )
    assert fields.unasked() == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda fields: fields.flag("f"),
        lambda fields: fields.flag("n"),
        lambda fields: fields.word("n", {}),
        lambda fields: fields.text("a"),
        lambda fields: fields.integer("a"),
        lambda fields: list(fields.each("a")),
    ],
)
def test_a_field_of_another_type_is_told_with_its_name(ask: Callable[[Fields], object]) -> None:
    fields = Fields(parse_text_format("a: true f: 'true' n: 2", "m"), "m")
    with pytest.raises(ConfigurationError, match=r"m: [afn]: must be .*, not '(true|2)'"):
        ask(fields)


@given(st.text() | st.text(alphabet="ab{}<>[]:;,-'\"\\#\n 01.x"))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    with suppress(ConfigurationError):
        parse_text_format(text, "config.pbtxt")
