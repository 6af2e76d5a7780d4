"""The migrations that this version of Penstock brings, as numbered files beside this one."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+(?:\.(concurrent|backfill|contract))?\.sql")
_NEEDS: Final = re.compile(r"^-- needs: (\d{4})$", re.MULTILINE)
# Space and comments; the end of a statement; and its text, in which semicolons may be quoted.
_PIECE: Final = re.compile(
    r"\s+ | --[^\n]* | /\*.*?\*/ | (?P<end>;)"
    r"""| (?P<text> '(?:[^']|'')*' | "(?:[^"]|"")*" | (?P<tag>\$\w*\$).*?(?P=tag) | . )""",
    re.DOTALL | re.VERBOSE,
)


class Kind(StrEnum):
    """How a migration is applied. Its file's name says it: `0005_name.backfill.sql`; one that says nothing expands."""

    EXPAND = "expand"  # in one transaction, and quick; roles of the version before go on working
    CONCURRENT = "concurrent"  # statement by statement outside any transaction, beside those who work
    BACKFILL = "backfill"  # one statement, repeated until it finds nothing more to do
    CONTRACT = "contract"  # in one transaction, once nobody is connected who needs what it takes away


# What every role of its version relies on. It works whether the others have been applied, are being, or not yet.
RELIED_ON: Final = frozenset([Kind.EXPAND, Kind.CONCURRENT])


class Statement(NamedTuple):
    line: int
    sql: str


class Migration(NamedTuple):
    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def kind(self) -> Kind:
        return kind_of(self.name)

    @property
    def needs(self) -> int | None:
        """Of one that contracts: who does not know the migration of this number cannot work any more.

        Its own number, unless a line `-- needs: 0005` says that it takes away only what those before 0005 use.
        """
        if self.kind is not Kind.CONTRACT:
            return None
        said = _NEEDS.search(self.sql)
        return int(said[1]) if said else self.number

    @property
    def statements(self) -> Sequence[Statement]:
        return list(_statements(self.sql))


def kind_of(name: str) -> Kind:
    """What the name of a file says, also of one that this version does not have."""
    match = _NAME.fullmatch(name)
    return Kind(match[2]) if match and match[2] else Kind.EXPAND


@cache
def known_migrations() -> Sequence[Migration]:
    """Every migration of this version of Penstock, in order."""
    return read_migrations(resources.files(__package__))


def read_migrations(folder: Traversable) -> Sequence[Migration]:
    return sorted(
        Migration(int(match[1]), file.name, file.read_text("utf-8").replace("\r\n", "\n"))
        for file in folder.iterdir()
        if (match := _NAME.fullmatch(file.name))
    )


def newest_known() -> int:
    """The number of the newest migration of this version. Roles tell it to Postgres, so that `migrate` sees it."""
    return known_migrations()[-1].number


def _statements(sql: str) -> Iterator[Statement]:
    begin = None
    for piece in _PIECE.finditer(sql):
        if begin is None and piece["text"] is not None:
            begin = piece.start()
        elif begin is not None and piece["end"] is not None:
            yield _statement(sql, begin, piece.start())
            begin = None
    if begin is not None:
        yield _statement(sql, begin, len(sql))


def _statement(sql: str, begin: int, end: int) -> Statement:
    return Statement(sql.count("\n", 0, begin) + 1, sql[begin:end].rstrip())
