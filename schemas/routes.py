"""How a model's traffic splits among its versions: the route, and which version a job gets by it. Pure.

Gateways and routers choose alike, after every restart, and so can a producer in any language: see docs/routing.md.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Final, NamedTuple

import msgspec

# A share of the traffic is counted in hundredths of a percent.
WHOLE: Final = 10_000
# Keys are counted, and compared with themselves, by the percent of the hash that they fall into.
COHORTS: Final = 100

STABLE: Final = "stable"
CANARY: Final = "canary"
LATEST: Final = "latest"

MAX_STICKY_KEY: Final = 255  # characters


class Sticky(msgspec.Struct, frozen=True):
    """Where a job's sticky key is read: `sticky_key`, `header:<name>`, `metadata:<path>` or `record_key`."""

    source: str = "sticky_key"


class Shadow(msgspec.Struct, frozen=True):
    """A version that runs a copy of a share of the live jobs, which no caller sees; `rate` is that share, 0 to 1.

    `rows_per_s` bounds what each worker copies, `device_share` what copies may take of the time of a device that runs
    them, 0 to 1. Of the tenants in `exclude_tenants` nothing is copied.
    """

    version: str
    rate: float
    rows_per_s: float = 50.0
    device_share: float = 0.2
    exclude_tenants: tuple[str, ...] = ()


class Pin(msgspec.Struct, frozen=True):
    """All jobs of a tenant, or all of a sticky key, get this version. Exactly one of the two is given."""

    version: str
    tenant: str | None = None
    key: str | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The route of one model, as it stands in its topic.

    `versions` are shares in basis points, 10,000 in all. `default` gets what no share can be found for; `labels` name
    versions. `rescue`: what the canary fails by its own fault runs once on the default version. `taken_back` are
    versions without a share whose waiting jobs, so far as they came by one, go to another; see `schemas.moves`.
    `rollout` is the id of the rollout that wrote the revision.
    """

    model: str
    revision: int
    versions: dict[str, int]
    default: str
    labels: dict[str, str] = {}
    sticky: Sticky = Sticky()
    salt: str
    shadow: tuple[Shadow, ...] = ()
    pins: tuple[Pin, ...] = ()
    rescue: bool = False
    taken_back: tuple[str, ...] = ()
    rollout: str | None = None
    updated_at: datetime
    updated_by: str

    # Found out once for each revision, not for each job.

    @cached_property
    def in_order(self) -> tuple[tuple[str, int], ...]:
        """Versions and their shares in the order of the versions' names."""
        return tuple(sorted(self.versions.items()))

    @cached_property
    def pinned_keys(self) -> Mapping[str, str]:
        return {pin.key: pin.version for pin in self.pins if pin.key is not None}

    @cached_property
    def pinned_tenants(self) -> Mapping[str, str]:
        return {pin.tenant: pin.version for pin in self.pins if pin.tenant is not None}

    @cached_property
    def variants(self) -> Mapping[str, str]:
        """Each labeled version's label: `stable` and `canary` before others, which go by name."""
        by_weight = sorted(self.labels, key=lambda label: (label != STABLE, label != CANARY, label), reverse=True)
        return {self.labels[label]: label for label in by_weight}


class Choice(NamedTuple):
    """Which version a job gets, and what is stamped on its record. Times and inputs play no part.

    `variant` is the version's label, `revision` the route's. `cohort` is the percent of the hash that the job's key
    fell into; None where the version was pinned, so that the job stays with it whatever becomes of the route.
    `rescue_to` is the version that runs the job once more if this one fails by its own fault.
    """

    version: str
    variant: str | None = None
    revision: int | None = None
    cohort: int | None = None
    rescue_to: str | None = None


def bucket(salt: str, key: str) -> int:
    """Where on [0, 10000) a key falls: the first eight bytes of SHA-256 of `salt`, a line feed and `key`, as a
    big-endian number, modulo 10,000. Text counts by its UTF-8; bytes that are none, decoded with `surrogateescape`,
    count as they are."""
    digest = hashlib.sha256(f"{salt}\n{key}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % WHOLE


def choose(route: Route, tenant: str, sticky_key: str | None, job_id: str) -> Choice:
    """The version of a job that names none. Without a sticky key its id decides. Pins of a key go before those of a
    tenant."""
    pinned = route.pinned_keys.get(sticky_key) if sticky_key is not None else None
    pinned = pinned or route.pinned_tenants.get(tenant)
    if pinned is not None:
        return Choice(pinned, route.variants.get(pinned), route.revision)
    return by_share(route, bucket(route.salt, job_id if sticky_key is None else sticky_key))


def copied_to(route: Route, version: str, cohort: int | None, tenant: str, job_id: str) -> list[Shadow]:
    """The shadows that get a copy of a job which this version ran; none where it did not come by a share."""
    if cohort is None:
        return []
    return [
        shadow
        for shadow in route.shadow
        if shadow.version != version
        and tenant not in shadow.exclude_tenants
        and bucket(route.salt, f"shadow\n{shadow.version}\n{job_id}") < shadow.rate * WHOLE
    ]


def by_share(route: Route, place: int) -> Choice:
    """What a job gets whose key falls on this place of [0, 10000)."""
    version = version_at(route, place)
    variant = route.variants.get(version)
    rescue_to = route.default if route.rescue and variant == CANARY and version != route.default else None
    return Choice(version, variant, route.revision, place * COHORTS // WHOLE, rescue_to)


def version_at(route: Route, place: int) -> str:
    """Shares lie side by side in the order of the versions' names, so that one of two that grows keeps all it has."""
    for version, share in route.in_order:
        place -= share
        if place < 0:
            return version
    return route.default
