"""Commands in a Markdown page that say of themselves that they can be run.

A comment before a block of `sh` marks it, and says what its output must hold, or which program it needs:

    <!-- runs: "status":"succeeded" -->
    <!-- runs: needs kcat -->
"""

import re
from pathlib import Path
from typing import NamedTuple

_MARKED = re.compile(r"^<!-- runs:(?P<note>[^\n]*)-->\n```sh\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL)
_NEEDS = "needs "


class Snippet(NamedTuple):
    """`expects` is a piece of the output; `needs` a program that must be there."""

    commands: str
    expects: str
    needs: str | None

    @property
    def title(self) -> str:
        return self.commands.partition("\n")[0][:60]


def snippets_of(page: Path) -> list[Snippet]:
    found = []
    for match in _MARKED.finditer(page.read_text()):
        note = match["note"].strip()
        needs = note.removeprefix(_NEEDS) if note.startswith(_NEEDS) else None
        found.append(Snippet(match["commands"], "" if needs else note, needs))
    return found
