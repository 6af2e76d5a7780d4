"""What a worker has to do so that it serves what stands in its repository and what operators want. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from schemas.model_states import ModelState, WantedState
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.snapshot import Found, Snapshot


class ServedSpec(NamedTuple):
    """A version as the worker has taken it up, or has tried to: what was found, and what was wanted."""

    found: Found
    wanted: WantedState | None


class Changes(NamedTuple):
    """`load`: serve these from now on. `swap`: the same to the outside, from other files. `rebuild`: other tensors or
    other micro-batches than before. `announce`: told anew, because what the catalog says has changed or may be gone.
    `leave`: serve these no more."""

    load: list[ServedSpec]
    swap: list[ServedSpec]
    rebuild: list[ServedSpec]
    announce: list[ServedSpec]
    leave: list[str]


class StableSnapshot(NamedTuple):
    """What two looks, an interval apart, tell together. `ready` are the versions that they have found alike: nobody is
    still copying them. `there` are those that either has seen."""

    now: Snapshot
    ready: frozenset[str]
    there: frozenset[str]


def sight_of(before: Snapshot | None, now: Snapshot) -> StableSnapshot:
    """At the first look everything is ready."""
    if before is None:
        return StableSnapshot(now, frozenset(now.found), now.there)
    ready = frozenset(name for name, found in now.found.items() if before.found.get(name) == found)
    return StableSnapshot(now, ready, before.there | now.there)


def changes(
    served: Mapping[str, ServedSpec],
    failed: Mapping[str, ServedSpec],
    sight: StableSnapshot,
    wanted: Callable[[ModelVersion], WantedState | None],
) -> Changes:
    """`failed` are versions that could not be loaded: they are tried again when they or the wish for them change.

    A served version that is there and cannot be read is served on: a mistake in a model.yaml must not stop what runs.
    """
    to_do = Changes([], [], [], [], [])
    for name, found in sight.now.found.items():
        known = ServedSpec(found, wanted(found.version))
        if is_unloaded(known.wanted) or name not in sight.ready or failed.get(name) == known:
            continue
        if name not in served:
            to_do.load.append(known)
        elif served[name] != known:
            _change(served[name].found, found, to_do).append(known)
    to_do.leave.extend(
        name for name, known in served.items() if name not in sight.there or is_unloaded(wanted(known.found.version))
    )
    return to_do


def _change(before: Found, now: Found, to_do: Changes) -> list[ServedSpec]:
    if _as_run(before.version) != _as_run(now.version):
        return to_do.rebuild
    return to_do.announce if before.files == now.files else to_do.swap


def _as_run(version: ModelVersion) -> ModelVersion:
    """Without what only the catalog tells."""
    return replace(version, is_default=False, description="", metrics={})


def is_unloaded(wanted: WantedState | None) -> bool:
    """Whether nobody is to serve the version."""
    return wanted is not None and wanted.state is ModelState.UNLOADED
