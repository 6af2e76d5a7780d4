"""What shadows were found to answer, as a store keeps it. Postgres answers; there is an in-memory twin."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from schemas.shadows import Disagreement, ShadowFinding, ShadowHour, ShadowSums


class ShadowAsked(NamedTuple):
    """Whose findings: of a tenant's jobs, a model, and perhaps of one version alone, or of one that it shadows."""

    tenant: str
    model: str
    version: str | None = None
    shadow_of: str | None = None


class PairSums(NamedTuple):
    version: str
    shadow_of: str
    sums: ShadowSums


class After(NamedTuple):
    """Behind which disagreement a page begins, newest first."""

    at: datetime
    job: str


class ShadowStore(Protocol):
    """Every method may raise `StoreUnavailable`."""

    async def keep(self, findings: Sequence[ShadowFinding]) -> None:
        """Keep what was found. Of a worker's hour the largest sum counts, of a job and version the first
        disagreement: what comes twice counts once. Raises `InvalidInput`, having kept nothing, for what no store can
        hold."""

    async def sums(self, asked: ShadowAsked, since: datetime) -> Sequence[PairSums]:
        """By pair of versions, in the order of their names; from the hour on in which `since` lies."""

    async def disagreements(self, asked: ShadowAsked, *, after: After | None, limit: int) -> Sequence[Disagreement]:
        """The newest first."""


def counted(sums: ShadowSums) -> int:
    """All of it together, which only grows."""
    return sums.copied + sums.compared + sums.invalid + sum(sums.dropped.values())


def added(found: Iterable[PairSums]) -> Sequence[PairSums]:
    """One of each pair of versions, in the order of their names."""
    by_versions: defaultdict[tuple[str, str], list[ShadowSums]] = defaultdict(list)
    for each in found:
        by_versions[each.version, each.shadow_of].append(each.sums)
    return [PairSums(*versions, _total(by_versions[versions])) for versions in sorted(by_versions)]


def _total(all_of: Sequence[ShadowSums]) -> ShadowSums:
    reasons = sorted({reason for each in all_of for reason in each.dropped})
    return ShadowSums(
        copied=sum(each.copied for each in all_of),
        agreed=sum(each.agreed for each in all_of),
        disagreed=sum(each.disagreed for each in all_of),
        invalid=sum(each.invalid for each in all_of),
        dropped={reason: sum(each.dropped.get(reason, 0) for each in all_of) for reason in reasons},
    )


def last_of_each(findings: Iterable[ShadowFinding]) -> tuple[list[ShadowHour], list[Disagreement]]:
    """Each worker's hour, and each job's disagreement with a version, once, in the order of their keys: so two who
    write the same do not wait for each other."""
    hours: dict[tuple[object, ...], ShadowHour] = {}
    jobs: dict[tuple[str, str, str], Disagreement] = {}
    for each in findings:
        pair = each.pair
        if isinstance(each, Disagreement):
            jobs.setdefault((pair.tenant, each.job, pair.version), each)
            continue
        key = (pair.tenant, pair.model, pair.version, pair.shadow_of, each.hour, each.worker)
        if key not in hours or counted(hours[key].sums) <= counted(each.sums):
            hours[key] = each
    return [hours[key] for key in sorted(hours)], [jobs[place] for place in sorted(jobs)]
