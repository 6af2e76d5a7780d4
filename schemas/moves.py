"""Which jobs go to another version than the one they were admitted for. Pure.

The version of a job is chosen once, at its admission. It changes for two reasons only: its version was taken back while
it waited, or has failed it by its own fault. Both hold only for jobs that came by a share of the route: what a client
has named, or a pin, stays.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from schemas.routes import CANARY, COHORTS, WHOLE, Choice, Route, by_share

MAX_TAKEN_BACK: Final = 32


def taken_back(before: Route | None, versions: Mapping[str, int], asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Which versions a new route takes back, that gives these shares in the stead of the route `before`.

    Those that are asked for; those that were taken back before; and a canary that had a share. A version that was not
    on trial, and is replaced by another, is none of them: what waits for it runs there. None has a share. Of very many
    the ones that were taken back last are kept.
    """
    wanted = dict.fromkeys([*_left(before), *asked])
    return tuple(version for version in wanted if not versions.get(version))[-MAX_TAKEN_BACK:]


def losing(before: Route | None, versions: Mapping[str, int]) -> tuple[str, ...]:
    """The versions that have a share before, and none of these."""
    shares = () if before is None else before.in_order
    return tuple(version for version, share in shares if share and not versions.get(version))


def _left(before: Route | None) -> Iterator[str]:
    if before is not None:
        yield from before.taken_back
        yield from (version for version, share in before.in_order if share and before.variants.get(version) == CANARY)


def moved_to(route: Route, version: str, revision: int | None, cohort: int | None) -> Choice | None:
    """What a job gets now that waits for a version since this revision of the route; None where it stays.

    Its key is not known any more. Where a cohort is shared by several versions, the first has it.
    """
    if cohort is None or revision is None or revision >= route.revision or version not in route.taken_back:
        return None
    choice = by_share(route, cohort * WHOLE // COHORTS)
    return None if choice.version == version else choice
