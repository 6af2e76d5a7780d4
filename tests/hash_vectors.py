"""The test vectors of the hash, as docs/routing.md prints them."""

import json
import re
from pathlib import Path

_PAGE = Path(__file__).parent.parent / "docs" / "routing.md"


def the_hash() -> str:
    """The page's section about it."""
    return _PAGE.read_text(encoding="utf-8").partition("## The hash")[2].partition("\n## ")[0]


def vectors() -> list[tuple[str, str, int]]:
    """Salt, key and place of each; salt and key stand in the table as JSON."""
    rows = re.findall(r'^\| `(".*?")` \| `(".*?")` \| (\d+) \| \d+ \|$', the_hash(), re.MULTILINE)
    return [(json.loads(salt), json.loads(key), int(place)) for salt, key, place in rows]


def sql() -> str:
    """The statement that the page prints."""
    found = re.search(r"```sql\n(.*?)```", the_hash(), re.DOTALL)
    assert found is not None
    return found[1]
