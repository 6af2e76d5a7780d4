"""Lists come page by page: of each page one more than it holds is looked for, which tells whether another follows."""

from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar

from fastapi import Query

T = TypeVar("T")
Cursor = TypeVar("Cursor")

MAX_PAGE: Final = 100
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Entries a page.")]


def page_and_next(found: Sequence[T], limit: int, cursor: Callable[[T], Cursor]) -> tuple[Sequence[T], Cursor | None]:
    """The page, and its last entry's `cursor` where another page follows, which begins after that."""
    page = found[:limit]
    return page, cursor(page[-1]) if len(found) > limit else None
