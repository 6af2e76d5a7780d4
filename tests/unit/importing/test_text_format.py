"""Protocol buffers' text format, held against the grammar that they publish."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.importing.text_format import parse_text_format
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
        ("a: true b: false c: 0x1F d: 017 e: 0 f: 1.5e3 g: .5f", {"a": [True], "b": [False]}
         | {"c": [31], "d": [15], "e": [0], "f": [1500.0], "g": [0.5]}),
        ("# a word\nname: 'a' # and another\n 'b' \"c\"", {"name": ["abc"]}),
        (r"""s: 'tab\tquote\'\x41\102\u00e9\\n'""", {"s": ["tab\tquote'AB\u00e9\\n"]}),
        ("dynamic_batching { }", {"dynamic_batching": [{}]}),
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
        ("a {" * 100, "more than 64 messages within each other"),
    ],
)
def test_what_it_does_not_allow_is_told_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_text_format(text, "config.pbtxt")
    assert caught.value.message.startswith("config.pbtxt, line ")
    assert problem in caught.value.message


@given(st.text() | st.text(alphabet="ab{}<>[]:;,-'\"\\#\n 01.x"))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    with suppress(ConfigurationError):
        parse_text_format(text, "config.pbtxt")
