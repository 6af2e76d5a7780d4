"""The in-memory twin of the feedback. For tests."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime

from schemas.errors import PenstockError, StoreUnavailable
from schemas.feedback import Feedback, Told, feedback_of
from schemas.stats import INTERVAL_S, interval_start
from schemas.topics import LaneClass
from schemas.version_counts import SPAN_S
from stores.feedback import Outcomes, OutcomeSums, last_told
from stores.protocols import JobKey, Jobs


class MemoryFeedback:
    """`FeedbackStore` beside the twin of the jobs. While `down` is true, every call raises `StoreUnavailable`."""

    def __init__(self, jobs: Jobs) -> None:
        self.down = False
        self._jobs = jobs
        self._kept: dict[JobKey, Feedback] = {}

    async def tell(self, told: Sequence[Told]) -> Sequence[Feedback | PenstockError]:
        self._check_up()
        answers = [await self._read(each) for each in told]
        for each in last_told(answers):
            key = JobKey(each.tenant, each.id)
            if key not in self._kept or self._kept[key].told_at <= each.told_at:
                self._kept[key] = each
        return [
            each if isinstance(each, PenstockError) else self._kept[JobKey(each.tenant, each.id)] for each in answers
        ]

    async def _read(self, told: Told) -> Feedback | PenstockError:
        try:
            return feedback_of(told, await self._jobs.get(JobKey(told.tenant, told.id)))
        except PenstockError as refusal:
            return refusal

    async def outcomes(
        self,
        model: str,
        versions: Sequence[str],
        since: datetime,
        until: datetime,
        bad_below: float,
        span_s: int = INTERVAL_S,
    ) -> Sequence[Outcomes]:
        self._check_up()
        jobs, bad = Counter[tuple[str, int, datetime]](), Counter[tuple[str, int, datetime]]()
        for each in self._of(model, versions, LaneClass.LIVE, since, until):
            if each.cohort is not None:
                place = each.version, each.cohort, interval_start(each.ended_at, span_s)
                jobs[place] += 1
                bad[place] += each.reward is not None and each.reward < bad_below
        return [Outcomes(*place, count, bad[place]) for place, count in sorted(jobs.items())]

    async def summed(
        self, model: str, versions: Sequence[str], lane: str, since: datetime, until: datetime, bad_below: float
    ) -> Sequence[OutcomeSums]:
        self._check_up()
        rewards: defaultdict[tuple[str, datetime], list[float]] = defaultdict(list)
        for each in self._of(model, versions, lane, since, until):
            rewards[each.version, interval_start(each.ended_at, SPAN_S)].append(each.reward or 0.0)
        return [
            OutcomeSums(*place, len(all_of), sum(reward < bad_below for reward in all_of), sum(all_of))
            for place, all_of in sorted(rewards.items())
        ]

    def _of(
        self, model: str, versions: Sequence[str], lane: str, since: datetime, until: datetime
    ) -> Sequence[Feedback]:
        return [
            each
            for each in self._kept.values()
            if (each.model, each.lane) == (model, lane)
            and each.version in versions
            and each.reward is not None
            and since <= each.ended_at < until
        ]

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("the feedback is down")
