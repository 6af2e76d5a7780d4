"""Protocol buffers' text format, as config.pbtxt is written in, read without a schema.

Libraries read it only into classes generated from the schema, and drop or refuse what those do not know. An importer
wants to tell what it leaves behind, and needs neither those classes nor the runtime under them.
Source of the grammar: the Text Format Language Specification of Protocol Buffers.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from schemas.errors import ConfigurationError

# Every field is a list: without a schema a field that is there once cannot be told from a repeated one.
Message = dict[str, list["Value"]]
Value = str | int | float | bool | Message

MAX_DEPTH: Final = 64

_TOKEN: Final = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
    | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<number>(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?)(?![\w.]))
    | (?P<word>[A-Za-z_]\w*)
    | (?P<mark>[{}<>\[\]:;,\-])""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|u([0-9a-fA-F]{4})|(.))")
_ESCAPED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CLOSING: Final = {"{": "}", "<": ">"}


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse_text_format(text: str, where: object) -> Message:
    """The message in `text`. Raises `ConfigurationError` with `where`, line and column of what is not understood."""
    return _Parser(text, where).whole()


class _Parser:
    def __init__(self, text: str, where: object) -> None:
        self._text = text
        self._where = where
        self._tokens = self._split()
        self._next = next(self._tokens)

    def whole(self) -> Message:
        return self._message("end", depth=0)

    def _split(self) -> Iterator[_Token]:
        at = 0
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                raise self._error(f"{self._text[at]!r} is not understood", at)
            if match.lastgroup and match.lastgroup != "space":
                yield _Token(match.lastgroup, match[0], at)
            at = match.end()
        yield _Token("end", "end", at)

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)
        return token

    def _took(self, *marks: str) -> bool:
        if self._next.kind == "mark" and self._next.text in marks:
            self._take()
            return True
        return False

    def _message(self, closing: str, depth: int) -> Message:
        if depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} messages within each other", self._next.at)
        fields: Message = {}
        while self._next.text != closing or self._next.kind not in ("mark", "end"):
            name = self._take()
            if name.kind != "word":
                raise self._error(f"a field's name is expected, not {name.text!r}", name.at)
            fields.setdefault(name.text, []).extend(self._values(depth))
            self._took(",", ";")
        self._take()
        return fields

    def _values(self, depth: int) -> list[Value]:
        colon = self._took(":")
        if not self._took("["):
            if not colon and self._next.text not in _CLOSING:
                raise self._error(f"a colon is expected, not {self._next.text!r}", self._next.at)
            return [self._value(depth)]
        values: list[Value] = []
        while not self._took("]"):
            values.append(self._value(depth))
            if not self._took(",") and self._next.text != "]":
                raise self._error(f"a comma or the list's end is expected, not {self._next.text!r}", self._next.at)
        return values

    def _value(self, depth: int) -> Value:
        token = self._take()
        if token.kind == "mark" and token.text in _CLOSING:
            return self._message(_CLOSING[token.text], depth + 1)
        if token.kind == "string":
            return self._string(token)
        if token.kind == "word":
            return {"true": True, "false": False}.get(token.text, token.text)
        if token.kind == "number":
            return _number(token.text)
        if token.text == "-" and self._next.kind == "number":
            return -_number(self._take().text)
        raise self._error(f"a value is expected, not {token.text!r}", token.at)

    def _string(self, first: _Token) -> str:
        """Strings beside each other are one."""
        parts = [first.text]
        while self._next.kind == "string":
            parts.append(self._take().text)
        return "".join(_ESCAPE.sub(_unescaped, part[1:-1]) for part in parts)

    def _error(self, problem: str, at: int) -> ConfigurationError:
        line = self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at)
        return ConfigurationError(f"{self._where}, line {line}, column {column}: {problem}")


def _number(text: str) -> int | float:
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    if text.isdigit():
        return int(text, 8 if text.startswith("0") and text.strip("01234567") == "" else 10)
    return float(text.rstrip("fF"))


def _unescaped(match: re.Match[str]) -> str:
    digits, octal, point, letter = match.groups()
    if letter is not None:
        return _ESCAPED.get(letter, letter)
    return chr(int(octal, 8) & 0xFF if octal else int(digits or point, 16))
