"""What a worker has to do so that it serves what stands in its repository and what operators want. Pure."""

from collections.abc import Callable, Collection, Mapping
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
    """`load`: serve these from now on. `swap`: put other weights in place of those before. `rebuild`: serve these in
    new lanes, since their tensors, their tokens or their micro-batches are others than before. `announce`: write these
    into the catalog again, since what it says of them has changed, or an operator has asked for them. `leave`: serve
    these no more."""

    load: list[ServedSpec]
    swap: list[ServedSpec]
    rebuild: list[ServedSpec]
    announce: list[ServedSpec]
    leave: list[str]


class StableSnapshot(NamedTuple):
    """What two looks, one interval apart, tell together. `ready` are the versions that both have found the same, so
    that nobody is still copying them. `before` is the earlier look."""

    now: Snapshot
    ready: frozenset[str]
    before: Snapshot

    def is_gone(self, version: ModelVersion) -> bool:
        """Whether neither look has seen the version's folder."""
        return self.now.is_gone(version) and self.before.is_gone(version)


def stable_snapshot(before: Snapshot | None, now: Snapshot) -> StableSnapshot:
    """At the first look everything is ready."""
    if before is None:
        return StableSnapshot(now, frozenset(now.found), now)
    ready = frozenset(name for name, found in now.found.items() if before.found.get(name) == found)
    return StableSnapshot(now, ready, before)


def changes(
    served: Mapping[str, ServedSpec],
    failed: Mapping[str, ServedSpec],
    snapshot: StableSnapshot,
    wanted: Callable[[ModelVersion], WantedState | None],
    at_work: Collection[str] = (),
) -> Changes:
    """`failed` are versions that could not be loaded: they are tried again when they or the wish for them change.
    `at_work` are those of which something is being done: what has changed about them is seen to when it is done.

    A served version that is there and cannot be read is served on: a mistake in a model.yaml must not stop what runs.
    """
    to_do = Changes([], [], [], [], [])
    for name, found in snapshot.now.found.items():
        known = ServedSpec(found, wanted(found.version))
        if is_unloaded(known.wanted) or name not in snapshot.ready or name in at_work or failed.get(name) == known:
            continue
        if name not in served:
            to_do.load.append(known)
        elif served[name] != known:
            _change(served[name].found, found, to_do).append(known)
    to_do.leave.extend(
        name
        for name, known in served.items()
        if snapshot.is_gone(known.found.version) or is_unloaded(wanted(known.found.version))
    )
    return _defaults_last(to_do, at_work)


def _change(before: Found, now: Found, to_do: Changes) -> list[ServedSpec]:
    if as_run(before.version) != as_run(now.version) or before.tokenizer != now.tokenizer:
        return to_do.rebuild
    return to_do.announce if before.files == now.files else to_do.swap


def _defaults_last(to_do: Changes, at_work: Collection[str]) -> Changes:
    """Without announcements of models of which another version is being loaded: where the default goes from one
    version to another, the new one comes into the catalog before the old one is the default no more."""
    loading = {name.partition("/")[0] for name in at_work}
    loading |= {known.found.version.model for known in (*to_do.load, *to_do.swap, *to_do.rebuild)}
    return to_do._replace(announce=[known for known in to_do.announce if known.found.version.model not in loading])


def as_run(version: ModelVersion) -> ModelVersion:
    """Without what only the catalog tells."""
    return replace(version, is_default=False, description="", retention_s=None, metrics={})


def is_unloaded(wanted: WantedState | None) -> bool:
    """Whether an operator has taken the version out of service."""
    return wanted is not None and wanted.state is ModelState.UNLOADED
