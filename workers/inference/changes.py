"""What a worker has to do so that it serves what stands in its repository and what operators want. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from schemas.model_states import ModelState, WantedState
from workers.inference.look import Found, Look
from workers.inference.model_version import ModelVersion


class Known(NamedTuple):
    """A version as the worker has taken it up, or has tried to: what was found, and what was wanted."""

    found: Found
    wanted: WantedState | None


class Changes(NamedTuple):
    """`load`: serve these from now on. `swap`: the same to the outside, from other files. `rebuild`: other tensors or
    other micro-batches than before. `announce`: told anew, because what the catalog says has changed or may be gone.
    `leave`: serve these no more."""

    load: list[Known]
    swap: list[Known]
    rebuild: list[Known]
    announce: list[Known]
    leave: list[str]


def settled(before: Look | None, now: Look) -> frozenset[str]:
    """The versions that two looks, an interval apart, have found alike: nobody is still copying them."""
    if before is None:
        return frozenset(now.found)
    return frozenset(name for name, found in now.found.items() if before.found.get(name) == found)


def gone(before: Look | None, now: Look, served: Iterable[str]) -> list[str]:
    """Which of the `served` versions were missing from both looks. One that is there and cannot be read is not gone:
    a mistake in a model.yaml must not stop what runs."""
    return [name for name in served if name not in now.there and (before is None or name not in before.there)]


def changes(
    served: Mapping[str, Known],
    failed: Mapping[str, Known],
    now: Look,
    *,
    ready: frozenset[str],
    missing: Iterable[str],
    wanted: Callable[[ModelVersion], WantedState | None],
) -> Changes:
    """`failed` are versions that could not be loaded: they are tried again when they or the wish for them change.

    `ready` are those that may be loaded, `missing` those that have gone.
    """
    to_do = Changes([], [], [], [], [])
    for name, found in now.found.items():
        known = Known(found, wanted(found.version))
        if _unloaded(known.wanted) or name not in ready or failed.get(name) == known:
            continue
        if name not in served:
            to_do.load.append(known)
        elif served[name] != known:
            _change(served[name].found, found, to_do).append(known)
    unwanted = (name for name, known in served.items() if _unloaded(wanted(known.found.version)))
    to_do.leave.extend(dict.fromkeys([*missing, *unwanted]))
    return to_do


def _change(before: Found, now: Found, to_do: Changes) -> list[Known]:
    if _as_run(before.version) != _as_run(now.version):
        return to_do.rebuild
    return to_do.announce if before.files == now.files else to_do.swap


def _as_run(version: ModelVersion) -> ModelVersion:
    """Without what only the catalog tells."""
    return replace(version, is_default=False, description="", metrics={})


def _unloaded(wanted: WantedState | None) -> bool:
    return wanted is not None and wanted.state is ModelState.UNLOADED
