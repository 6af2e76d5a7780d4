"""One mapping of texts put into a YAML file's text, of which every other character stays: comments, order, quotes.

A library that reads a file and writes it anew would change its indentation and quotes too. What is edited here stands
at the places that the parser gives for each node. Whoever calls reads the result and holds it against what was meant.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import yaml

_PLAIN: Final = re.compile(r"[A-Za-z_][\w./-]*")  # needs no quotes as a key, unless it is a word of YAML's
_HEXADECIMAL: Final = re.compile(r"(?=.*[a-df])[0-9a-f]{2,}")  # and not to be taken for a number
_ANCHOR: Final = "trust"  # a new section stands behind this one, where it is there
_STEP: Final = 2  # of indentation

Texts = Mapping[str, str]


class _Entry(NamedTuple):
    key: yaml.Node
    value: yaml.Node

    @property
    def first_line(self) -> int:
        return int(self.key.start_mark.line)

    @property
    def last_line(self) -> int:
        return _last_line(self.value)


def put_at(text: str, place: Sequence[str], content: Texts) -> str:
    """The text with `content` as the mapping that stands at `place`, keys from the outermost; without it where
    `content` is empty. Raises `yaml.YAMLError`, or `TypeError` and the like for a text that is written in a way not
    known here."""
    parent = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(parent, yaml.MappingNode):
        raise TypeError("is no mapping")
    for depth, key in enumerate(place):
        entry = _find(parent, key)
        if entry is None:
            return _insert(text, parent, place[depth:], content) if content else text
        if depth + 1 < len(place) and isinstance(entry.value, yaml.MappingNode):
            parent = entry.value
        elif not content:
            return _without(text, entry)
        else:
            return _replace(text, parent, entry, place[depth + 1 :], content)
    raise AssertionError("a place has keys")


def _find(parent: yaml.MappingNode, key: str) -> _Entry | None:
    return next((_Entry(*pair) for pair in parent.value if pair[0].value == key), None)


def _last_line(node: yaml.Node) -> int:
    """Of a mapping in lines of its own the parser says where the next thing begins, comments left aside."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.line)


def _insert(text: str, parent: yaml.MappingNode, keys: Sequence[str], content: Texts) -> str:
    if parent.flow_style:
        end = parent.end_mark.index - 1
        comma = ", " if parent.value else ""
        return f"{text[:end].rstrip()}{comma}{json.dumps(keys[0])}: {_flow(keys[1:], content)}{text[end:]}"
    after = _find(parent, _ANCHOR) or _Entry(*parent.value[-1])
    lines = text.split("\n")
    lines[after.last_line + 1 : after.last_line + 1] = _block(keys, content, parent.start_mark.column)
    return _ended("\n".join(lines))


def _replace(text: str, parent: yaml.MappingNode, entry: _Entry, keys: Sequence[str], content: Texts) -> str:
    """`keys` are those that lead on from the entry: none where it is the mapping itself."""
    value = entry.value
    if not keys and isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
        return _edited(text, value, content)
    colon = text.index(":", entry.key.end_mark.index) + 1
    if parent.flow_style:
        return f"{text[:colon]} {_flow(keys, content)}{text[value.end_mark.index :]}"
    block = _block(keys, content, entry.key.start_mark.column + _STEP)
    return "\n".join([text[:colon], *block]) + text[max(colon, value.end_mark.index) :]


def _edited(text: str, mapping: yaml.MappingNode, content: Texts) -> str:
    """Entries that are no longer wanted go, others keep their lines, new ones come last."""
    lines: list[str | None] = list(text.split("\n"))
    entries = [_Entry(*pair) for pair in mapping.value]
    for entry in entries:
        wanted = content.get(str(entry.key.value))
        if wanted is None:
            lines[entry.first_line : entry.last_line + 1] = [None] * (entry.last_line + 1 - entry.first_line)
        elif wanted != entry.value.value:
            line, start, end = lines[entry.last_line], entry.value.start_mark.column, entry.value.end_mark.column
            lines[entry.last_line] = f"{line[:start]}{_scalar(wanted)}{line[end:]}" if line is not None else None
    here = {str(entry.key.value) for entry in entries}
    new = {name: value for name, value in content.items() if name not in here}
    last = entries[-1].last_line
    lines[last + 1 : last + 1] = _block((), new, mapping.start_mark.column)
    return _ended("\n".join(line for line in lines if line is not None))


def _without(text: str, entry: _Entry) -> str:
    lines = text.split("\n")
    del lines[entry.first_line : entry.last_line + 1]
    return "\n".join(lines)


def _block(keys: Sequence[str], content: Texts, indent: int) -> list[str]:
    lines = [f"{' ' * (indent + _STEP * depth)}{_key(key)}:" for depth, key in enumerate(keys)]
    inner = " " * (indent + _STEP * len(keys))
    return [*lines, *(f"{inner}{_key(name)}: {_scalar(value)}" for name, value in content.items())]


def _flow(keys: Sequence[str], content: Texts) -> str:
    nested: object = dict(content)
    for key in reversed(keys):
        nested = {key: nested}
    return json.dumps(nested)  # which is YAML


def _key(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and yaml.safe_load(name) == name else json.dumps(name)


def _scalar(value: str) -> str:
    return value if _HEXADECIMAL.fullmatch(value) and yaml.safe_load(value) == value else json.dumps(value)


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"
