"""Protocol buffers' text format, as config.pbtxt is written in, read without a schema.

Libraries read it only into classes generated from the schema, and drop or refuse what those do not know. An importer
wants to tell what it leaves behind, and needs neither those classes nor the runtime under them.
Source of the grammar: the Text Format Language Specification of Protocol Buffers.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from schemas.errors import ConfigurationError


class Word(str):
    """An identifier that stands for a value: `true`, `inf`, or one of an enumeration. The field's type says which."""

    __slots__ = ()


# Every field is a list: without a schema a field that is there once cannot be told from a repeated one. Extensions and
# the types of `Any` have their brackets in their names.
Message = dict[str, list["Value"]]
Value = str | Word | int | float | Message

MAX_DEPTH: Final = 64
MAX_DIGITS: Final = 400  # more than the largest number has

_TOKEN: Final = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
    | (?P<string>"(?:[^"\\\n\0]|\\[^\n\0])*"|'(?:[^'\\\n\0]|\\[^\n\0])*')
    | (?P<number>(?:0[xX][0-9a-fA-F]+|0[0-7]+
                  |(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?[fF]?)(?![\w.]))
    | (?P<word>[A-Za-z_]\w*)
    | (?P<mark>[{}<>\[\]:;,\-])""",
    re.VERBOSE | re.ASCII,
)
_BRACKETED: Final = re.compile(r"\[[\w\s./%~!$&()*+,;=-]+\]", re.ASCII)
_ESCAPE: Final = re.compile(
    r"""\\(?: (?P<octal>[0-7]{1,3}) | [xX](?P<byte>[0-9a-fA-F]{1,2})
    | u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})
    | u(?P<point>[0-9a-fA-F]{4}) | U(?P<long>[0-9a-fA-F]{8}) | (?P<letter>.) )""",
    re.VERBOSE | re.ASCII,
)
_ESCAPED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"} | {
    letter: letter for letter in "\\'\"?"
}
_CLOSING: Final = {"{": "}", "<": ">"}
# The words that may have a minus before them, in whatever letters.
_FLOATS: Final = {"inf": float("inf"), "infinity": float("inf"), "nan": float("nan")}


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

    def _split(self, at: int = 0) -> Iterator[_Token]:
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
            fields.setdefault(self._name(), []).extend(self._values(depth))
            self._took(",", ";")
        self._take()
        return fields

    def _name(self) -> str:
        """A field's name, or in brackets the name of an extension, or the URL of a type."""
        name = self._next
        if name.kind == "word":
            return self._take().text
        match = _BRACKETED.match(self._text, name.at)
        if match is None or name.kind != "mark":
            raise self._error(f"a field's name is expected, not {name.text!r}", name.at)
        self._tokens = self._split(match.end())
        self._next = next(self._tokens)
        return "".join(match[0].split())

    def _values(self, depth: int) -> list[Value]:
        colon = self._took(":")
        if not self._took("["):
            if not colon and self._next.text not in _CLOSING:
                raise self._error(f"a colon is expected, not {self._next.text!r}", self._next.at)
            return [self._value(depth)]
        if self._took("]"):
            return []
        values = [self._value(depth)]
        while not self._took("]"):
            if not self._took(","):
                raise self._error(f"a comma or the list's end is expected, not {self._next.text!r}", self._next.at)
            values.append(self._value(depth))
        return values

    def _value(self, depth: int) -> Value:
        token = self._take()
        if token.kind == "mark" and token.text in _CLOSING:
            return self._message(_CLOSING[token.text], depth + 1)
        if token.kind == "string":
            return self._string(token)
        if token.kind == "word":
            return Word(token.text)
        if token.kind == "number":
            return self._number(token)
        if token.text == "-" and self._next.kind == "number":
            return -self._number(self._take())
        if token.text == "-" and self._next.text.lower() in _FLOATS:
            return -_FLOATS[self._take().text.lower()]
        raise self._error(f"a value is expected, not {token.text!r}", token.at)

    def _string(self, first: _Token) -> str:
        """Strings beside each other are one. Escapes are of bytes, so that a character may take several."""
        content = self._bytes(first)
        while self._next.kind == "string":
            content += self._bytes(self._take())
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._error("a string is not UTF-8", first.at) from error

    def _bytes(self, token: _Token) -> bytes:
        content, at = b"", 1
        for match in _ESCAPE.finditer(token.text, 1, len(token.text) - 1):
            content += token.text[at : match.start()].encode("utf-8", "surrogatepass")
            content += self._unescaped(match, token.at + match.start())
            at = match.end()
        return content + token.text[at:-1].encode("utf-8", "surrogatepass")

    def _unescaped(self, match: re.Match[str], at: int) -> bytes:
        letter, octal, byte = match["letter"], match["octal"], match["byte"]
        if letter is not None and letter in _ESCAPED:
            return _ESCAPED[letter].encode()
        if byte is not None or (octal is not None and int(octal, 8) < 256):
            return bytes([int(octal, 8) if octal else int(byte, 16)])
        point = _point(match)
        if point is None or 0xD800 <= point < 0xE000 or point > 0x10FFFF:
            raise self._error(f"{match[0]!r} is no escape", at)
        return chr(point).encode()

    def _number(self, token: _Token) -> int | float:
        text = token.text
        if len(text) > MAX_DIGITS:
            raise self._error(f"a number of {len(text)} digits is too long", token.at)
        if text[:2] in ("0x", "0X"):
            return int(text, 16)
        if text.isdigit():
            return int(text, 8 if text.startswith("0") else 10)
        return float(text.rstrip("fF"))

    def _error(self, problem: str, at: int) -> ConfigurationError:
        line = self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at)
        return ConfigurationError(f"{self._where}, line {line}, column {column}: {problem}")


def _point(match: re.Match[str]) -> int | None:
    """The code point of an escape, of which two may stand for one."""
    if match["high"] is not None:
        return 0x10000 + (int(match["high"], 16) - 0xD800) * 0x400 + int(match["low"], 16) - 0xDC00
    digits = match["point"] or match["long"]
    return None if digits is None else int(digits, 16)
