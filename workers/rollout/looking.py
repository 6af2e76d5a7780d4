"""One look at a rollout: what was counted since the last one, and what the judge finds then. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from runtime.logs import get_logger
from schemas.rollout_routes import shares_of
from schemas.rollout_transitions import verb_of
from schemas.rollouts import Rollout, Strategy, Verb, Verdict
from schemas.stats import INTERVAL_S, Counts, interval_start
from schemas.topics import LaneClass
from stores.rollouts import Judged, StoredRollout
from workers.rollout.judging import judge
from workers.rollout.judging.evidence import Around, Evidence, Interval, Tally
from workers.rollout.outcomes import Asked, Told, asked_before, asked_recent, outcomes_before, with_outcomes
from workers.rollout.windows import BUCKET_S

log = get_logger(__name__)

# What `workers.rollout.windows.Windows.between` answers: of a model, for each of the versions, what was counted
# on a lane.
Between = Callable[[str, Sequence[str], LaneClass, datetime, datetime], Mapping[str, Counts]]

# Only what somebody waits for is judged; what a batch sends is alike, and comes in heaps.
LANE: Final = LaneClass.LIVE
INTERVAL: Final = timedelta(seconds=INTERVAL_S)
# An interval without any count of one of the versions is waited with for so long: workers that are held up, or whose
# clock is behind, tell of it late, and what comes once it was taken in is never judged.
LATE: Final = INTERVAL
# Taken in at one look: each costs a few milliseconds, and a controller that was away has many to take in.
MOST_INTERVALS: Final = 20
# What is older is passed over: it gives way to sums, one version's sooner than the other's, and one side alone is no
# comparison.
OLDEST: Final = timedelta(seconds=BUCKET_S - 60)
# So long after an attempt began jobs are passed over that came to the version before, as they did by the attempt that
# was rolled back.
OF_BEFORE: Final = timedelta(seconds=60)
HISTORY: Final = timedelta(hours=24)
HOUR: Final = timedelta(hours=1)

# Verbs after which the step's own counts begin anew.
_NEXT: Final = frozenset({Verb.PROMOTE_STEP, Verb.WEIGH})

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Evidence)


class Look(NamedTuple):
    """What is to be done: the verb, what the judge found, what was counted, and until when. `is_news` is false where
    all stands as it did at the last look."""

    verb: Verb
    verdict: Verdict
    judged: Judged
    counted_until: datetime
    is_news: bool


def look(
    stored: StoredRollout,
    between: Between,
    complete_until: datetime,
    now: datetime,
    around: Around,
    told: Told,
) -> Look:
    """`complete_until`: what workers counted before is all there. `told` is what was asked for by `asked`."""
    rollout = stored.rollout
    known = _read(stored.evidence)
    # The clock of the gateway that began the step may be ahead: that must not keep anything from being judged.
    evidence, counted_until = known or _begun(rollout, between, told), min(rollout.counted_until, now)
    for ended_at in _ends(counted_until, complete_until):
        interval = _interval(rollout, between, ended_at)
        interval = with_outcomes(interval, rollout, told, evidence.began_at)
        if _may_be_late(interval) and complete_until < ended_at + LATE:
            break
        if not _is_of_before(rollout, interval):
            evidence = judge.observe(evidence, interval)
        counted_until = ended_at
    evidence = msgspec.structs.replace(evidence, around=around)
    found = judge.verdict(evidence, now, INTERVAL_S)
    verb = verb_of(rollout, found, now)
    kept = _encoder.encode(evidence)
    goes_on = _encoder.encode(judge.next_step(evidence)) if verb in _NEXT else kept
    judged = Judged(rollout.sequence, kept, goes_on)
    is_news = known is None or counted_until != rollout.counted_until or verb is not Verb.HOLD
    return Look(verb, found, judged, counted_until, is_news or _said(found) != _said(rollout.verdict))


def asked(stored: StoredRollout, complete_until: datetime) -> tuple[Asked | None, Asked | None]:
    """Which outcomes `look` is to be told, if any: where an interval is to be taken in those that go with it, and where
    nothing is counted yet those from before."""
    rollout = stored.rollout
    first = _first(rollout.counted_until, complete_until)
    recent = asked_recent(rollout, first, complete_until) if first + INTERVAL <= complete_until else None
    return recent, asked_before(rollout, *_alone(rollout)) if stored.evidence is None else None


def _first(counted_until: datetime, complete_until: datetime) -> datetime:
    """The beginning of the first interval that is to be taken in."""
    return interval_start(max(counted_until, complete_until - OLDEST))


def _ends(counted_until: datetime, complete_until: datetime) -> Iterator[datetime]:
    """The ends of the intervals that are complete and were not taken in. One in which a step began is taken in."""
    ended_at = _first(counted_until, complete_until) + INTERVAL
    for _ in range(MOST_INTERVALS):
        if ended_at > complete_until:
            return
        yield ended_at
        ended_at += INTERVAL


def _interval(rollout: Rollout, between: Between, ended_at: datetime) -> Interval:
    versions = (rollout.stable, rollout.plan.version)
    counts = between(rollout.plan.model, versions, LANE, ended_at - INTERVAL, ended_at)
    stable, canary = (counts[version] for version in versions)
    pairs = Tally(canary.shadowed.get(rollout.stable, 0), canary.disagreed.get(rollout.stable, 0))
    return Interval(
        ended_at=ended_at,
        shares=shares_of(rollout),
        version=rollout.plan.version,
        stable=stable,
        canary=canary,
        compared=pairs,
    )


def _is_of_before(rollout: Rollout, interval: Interval) -> bool:
    """Whether any of the canary's jobs came by a share that it had before this attempt: by a route older than that of
    the attempt's first step. What waits for longer than `OF_BEFORE` counts."""
    revisions = interval.canary.revisions
    if rollout.step > 0 or rollout.weighed is not None or rollout.revision is None or revisions is None:
        return False
    return revisions[0] < rollout.revision and interval.ended_at <= rollout.step_began_at + OF_BEFORE


def _may_be_late(interval: Interval) -> bool:
    return not (interval.stable.everything and interval.canary.everything)


def _begun(rollout: Rollout, between: Between, told: Told) -> Evidence:
    """With what the stable version did before, while all of the traffic was its own."""
    since, alone_until = _alone(rollout)

    def counted(until: datetime) -> Counts:
        return between(rollout.plan.model, [rollout.stable], LANE, since, until)[rollout.stable]

    # How far back the counts go is not known; that they do for an hour is, where there are older ones.
    is_long = counted(alone_until - HOUR).jobs() > 0
    before_s = (alone_until - since).total_seconds() if is_long else 0.0
    return judge.begin(
        rollout.plan.guardrails,
        rollout.step_began_at,
        counted(alone_until),
        before_s,
        outcomes_before(told),
        weighs=rollout.plan.strategy is Strategy.BANDIT,
    )


def _alone(rollout: Rollout) -> tuple[datetime, datetime]:
    """Since and until when the stable version surely had all of the traffic; a day at most. Not always until the step
    began: evidence is also gathered anew in a later step, or after a pause before the first look."""
    until = rollout.stable_since or rollout.created_at
    if rollout.attempt == 1:
        until = rollout.created_at
    elif rollout.step == 0 and rollout.weighed is None:
        until = rollout.step_began_at
    return max(rollout.stable_since or datetime.min.replace(tzinfo=UTC), until - HISTORY), until


def _read(evidence: bytes | None) -> Evidence | None:
    if evidence is None:
        return None
    try:
        return _decoder.decode(evidence)
    except msgspec.DecodeError as error:
        log.warning("evidence of another version cannot be read: it is gathered anew", error=str(error))
        return None


def _said(found: Verdict | None) -> tuple[str, str] | None:
    return None if found is None else (found.decision, found.reason)
