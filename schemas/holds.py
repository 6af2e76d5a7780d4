"""Holds: what an operator has wait, refuses or ends, and which of them a job meets. Pure.

The order in which holds are known makes no difference. Where there are none, asking costs nothing; with some hundred it
costs a look-up for each combination of fields that they name.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from schemas.errors import AdmissionRefused, Canceled
from schemas.jobs import Submitted
from schemas.topics import Lane, LaneClass

# A person has it refused, and will have it taken again: nobody knows when.
REFUSED_RETRY_AFTER_S: Final = 30.0


class Action(StrEnum):
    HOLD = "hold"  # those that fit wait, and new ones as well
    REFUSE = "refuse"  # new ones are not taken; those that wait are not touched
    END = "end"  # those that waited when it was set end as canceled; new ones are not touched


class Meant(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs are meant: those that agree with all that is given. At least one field is."""

    model: str | None = None
    version: str | None = None
    tenant: str | None = None
    lane: LaneClass | None = None

    def __str__(self) -> str:
        """As a person reads it: `model digits, tenant acme`."""
        return ", ".join(f"{name} {value}" for name, value in self.given.items())

    @property
    def given(self) -> Mapping[str, str]:
        fields = {"model": self.model, "version": self.version, "tenant": self.tenant, "lane": self.lane}
        return {name: str(value) for name, value in fields.items() if value is not None}

    def fits(self, job: Submitted) -> bool:
        return all(
            wanted in (None, found)
            for wanted, found in (
                (self.model, job.model),
                (self.version, job.version),
                (self.tenant, job.tenant),
                (self.lane, job.lane),
            )
        )


class Hold(Meant, frozen=True, kw_only=True):
    """One hold, as it stands in its topic. It never changes: it is set, and released."""

    id: str
    action: Action
    reason: str = ""
    created_by: str
    created_at: datetime


# Tenant, model, version and lane: of a job, or as a hold names them.
Fields = tuple[str | None, str | None, str | None, str | None]
Rank = Callable[[Hold], Any]


class _Index:
    """The holds of one action. Of several that fit the one with the highest rank is found."""

    def __init__(self, holds: Iterable[Hold], rank: Rank) -> None:
        self._rank = rank
        self._shapes: dict[tuple[bool, ...], dict[Fields, Hold]] = {}
        for hold in holds:
            fields = (hold.tenant, hold.model, hold.version, hold.lane)
            known = self._shapes.setdefault(tuple(field is not None for field in fields), {})
            if fields not in known or rank(hold) > rank(known[fields]):
                known[fields] = hold

    def find(self, tenant: str | None, model: str, version: str, lane: str) -> Hold | None:
        best: Hold | None = None
        for (by_tenant, by_model, by_version, by_lane), known in self._shapes.items():
            fields = (
                tenant if by_tenant else None,
                model if by_model else None,
                version if by_version else None,
                lane if by_lane else None,
            )
            hold = known.get(fields)
            if hold is not None and (best is None or self._rank(hold) > self._rank(best)):
                best = hold
        return best


class HoldSet:
    """All holds that stand."""

    def __init__(self, holds: Iterable[Hold] = ()) -> None:
        self.by_id: Mapping[str, Hold] = {hold.id: hold for hold in holds}
        each = self.by_id.values()
        self._waiting = _Index((hold for hold in each if hold.action is Action.HOLD), _oldest)
        self._parking = _Index((hold for hold in each if hold.action is Action.HOLD and hold.tenant), _oldest)
        self._refusing = _Index((hold for hold in each if hold.action is Action.REFUSE), _oldest)
        self._ending = _Index((hold for hold in each if hold.action is Action.END), _newest)

    def holding(self, job: Submitted) -> Hold | None:
        """Why the job waits, or would; None where it does not. The oldest of several. One that is to end waits no
        more."""
        hold = self._waiting.find(job.tenant, job.model, job.version, job.lane)
        return None if hold is None or self.ending(job) is not None else hold

    def pausing(self, lane: Lane) -> Hold | None:
        """Why nothing of the lane may begin, whosever it is."""
        return self._waiting.find(None, lane.model, lane.version, lane.cls)

    def parking(self, job: Submitted) -> Hold | None:
        """Why a job may not stay where it waits: others behind it may go on, since its tenant's alone are held."""
        return self._parking.find(job.tenant, job.model, job.version, job.lane)

    def refusing(self, tenant: str, model: str, version: str, lane: LaneClass) -> Hold | None:
        """Why a new job is not taken."""
        return self._refusing.find(tenant, model, version, lane)

    def ending(self, job: Submitted) -> Hold | None:
        """Why a job that waits is to end: it was there already when this was set."""
        hold = self._ending.find(job.tenant, job.model, job.version, job.lane)
        return hold if hold is not None and job.created_at <= hold.created_at else None


def _oldest(hold: Hold) -> Any:
    return -hold.created_at.timestamp(), hold.id


def _newest(hold: Hold) -> Any:
    return hold.created_at.timestamp(), hold.id


NO_HOLDS: Final = HoldSet()


def because(hold: Hold) -> str:
    """The reason, as the rest of a sentence."""
    return f": {hold.reason}" if hold.reason else ""


def ended_by(hold: Hold) -> Canceled:
    """What a job ends with that an `end` ends."""
    return Canceled(f"an operator ended the jobs of {hold} that waited{because(hold)}")


def admission_refused(hold: Hold) -> AdmissionRefused:
    """What is told whoever submits what a `refuse` refuses."""
    told = f"an operator has new jobs of {hold} refused{because(hold)}"
    return AdmissionRefused(told, retry_after_s=REFUSED_RETRY_AFTER_S)
