"""What is wrong, of what was found. Pure."""

from collections.abc import Iterator
from typing import Final

import msgspec

from penstock.status.reading import Role, Survey, Version

# States in which jobs that wait for a version go on waiting.
NOT_SERVED: Final = frozenset({"refused", "no_worker", "unloaded"})


class Problem(msgspec.Struct, frozen=True):
    """`what` is a role, or a model and version."""

    what: str
    message: str


def problems(found: Survey) -> list[Problem]:
    """Roles first: what they lack explains the rest."""
    return [
        *(Problem(role.name, message) for role in found.roles for message in _of_role(role)),
        *(Problem(_name(each), message) for each in found.versions for message in _of(each)),
    ]


def _name(version: Version) -> str:
    return f"{version.model}/{version.version}" if version.version else version.model


def _of_role(role: Role) -> Iterator[str]:
    if role.state == "no answer":
        yield f"does not answer at {role.url}: {role.reason}"
    yield from (f"is not ready: {name}: {reason}" for name, reason in role.checks.items() if reason != "ok")
    yield from (f"is slower: {name}: {reason}" for name, reason in role.slower.items())


def _of(version: Version) -> Iterator[str]:
    if version.state == "refused":
        yield f"could not be loaded: {version.reason}"
    waiting = (version.live_records or 0) + (version.bulk_records or 0)
    if version.state in NOT_SERVED and waiting:
        yield f"is served by no worker ({version.state}), and {waiting} jobs wait for it"
