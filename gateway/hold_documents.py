"""What clients see of holds and of the audit log, as JSON."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.paging import page_and_next
from schemas.holds import Action, Hold
from schemas.topics import LaneClass
from stores.holds import AuditEntry


class HoldDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A hold: the jobs that agree with all of `model`, `version`, `tenant` and `lane` that are not null are meant.

    `matched`, in the answer that sets it: how many of them waited then. `waiting`, where one is read: how many wait
    now; of an `end`, how many are left that it is to end. 100,000 stands for as many or more.
    """

    object: Literal["hold"] = "hold"
    id: str
    action: Action
    model: str | None
    version: str | None
    tenant: str | None
    lane: LaneClass | None
    reason: str
    created_by: str
    created_at: datetime
    matched: int | UnsetType = UNSET
    waiting: int | UnsetType = UNSET


class HoldCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs wait that the hold would be about. Nothing was changed."""

    object: Literal["hold_count"] = "hold_count"
    matched: int


class HoldList(msgspec.Struct, frozen=True, kw_only=True):
    """All holds that stand, the oldest first, on one page."""

    object: Literal["list"] = "list"
    data: list[HoldDocument]
    has_more: bool = False
    next_after: str | None = None


class AuditDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to which hold. `verb` is `hold`, `refuse` or `end` for one that was set, `release`, or `expire` for
    an `end` that could meet no job any more. `matched` is how many jobs waited that it was about."""

    object: Literal["audit_entry"] = "audit_entry"
    id: int
    at: datetime
    by: str
    verb: str
    note: str
    matched: int
    hold: HoldDocument


class AuditList(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of the audit log, the newest first; the next page begins after `next_after`."""

    object: Literal["list"] = "list"
    data: list[AuditDocument]
    has_more: bool
    next_after: int | None


_encoder = msgspec.json.Encoder()


def encode_hold(hold: Hold, *, matched: int | UnsetType = UNSET, waiting: int | UnsetType = UNSET) -> bytes:
    return _encoder.encode(_hold(hold, matched=matched, waiting=waiting))


def encode_count(matched: int) -> bytes:
    return _encoder.encode(HoldCount(matched=matched))


def encode_holds(holds: Sequence[Hold]) -> bytes:
    return _encoder.encode(HoldList(data=[_hold(hold) for hold in holds]))


def encode_audit(found: Sequence[AuditEntry], limit: int) -> bytes:
    """A page of at most `limit`, of which one more was looked for."""
    page, after = page_and_next(found, limit, lambda each: each.id)
    data = [
        AuditDocument(
            id=each.id,
            at=each.at,
            by=each.by,
            verb=each.verb,
            note=each.note,
            matched=each.matched,
            hold=_hold(each.hold),
        )
        for each in page
    ]
    return _encoder.encode(AuditList(data=data, has_more=after is not None, next_after=after))


def _hold(hold: Hold, *, matched: int | UnsetType = UNSET, waiting: int | UnsetType = UNSET) -> HoldDocument:
    return HoldDocument(**msgspec.structs.asdict(hold), matched=matched, waiting=waiting)
