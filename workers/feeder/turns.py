"""Whose turn it is to have more of a batch in its lane. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple


class Candidate(NamedTuple):
    """A batch that could have more in its lane."""

    tenant: str
    due: datetime
    priority: int
    created_at: datetime
    id: str
    is_urgent: bool = False


class Turns:
    """Tenants take turns: who has been given the fewest rows is next. Of one tenant the earliest deadline goes first,
    then the higher priority, then who came first. So it does of all that are urgent, before any turn."""

    def __init__(self) -> None:
        self._given: dict[str, float] = {}

    def next(self, candidates: Sequence[Candidate]) -> Candidate:
        tenants = {candidate.tenant for candidate in candidates}
        # Who comes, or comes back, has no claim on what others were given meanwhile.
        known = [given for tenant, given in self._given.items() if tenant in tenants]
        least = min(known, default=0.0)
        self._given = {tenant: max(self._given.get(tenant, least), least) for tenant in tenants}
        if hurried := [each for each in candidates if each.is_urgent]:
            return min(hurried, key=_urgency)
        tenant = min(tenants, key=lambda each: (self._given[each], each))
        return min((each for each in candidates if each.tenant == tenant), key=_urgency)

    def took(self, tenant: str, rows: int) -> None:
        self._given[tenant] = self._given.get(tenant, 0.0) + rows


def _urgency(candidate: Candidate) -> tuple[datetime, int, datetime, str]:
    return candidate.due, -candidate.priority, candidate.created_at, candidate.id
