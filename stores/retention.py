"""How long what has ended is kept. Pure: the stores look up and delete, this decides."""

from datetime import datetime, timedelta
from typing import Final

from schemas.jobs import DEFAULT_RETENTION_S, MIN_RETENTION_S, Job, Terminal

DEFAULT_RETENTION: Final = timedelta(seconds=DEFAULT_RETENTION_S)
# A route's revision is kept for so long after another took its place; the newest of each model for ever.
REVISIONS_KEPT: Final = timedelta(days=366)
# What callers told of answers, and sums of what workers counted: for as long as versions are compared.
FEEDBACK_KEPT: Final = timedelta(days=30)
VERSION_COUNTS_KEPT: Final = timedelta(days=30)
# An ended rollout is kept for as long as the revisions of its route are.
ROLLOUTS_KEPT: Final = REVISIONS_KEPT
# So is what the audit log says.
AUDIT_KEPT: Final = REVISIONS_KEPT
# What shadows were found to answer.
SHADOWS_KEPT: Final = timedelta(days=7)
# Deliveries of webhooks since they ended, what was tried, and what waited for its target in vain.
DELIVERIES_KEPT: Final = timedelta(days=30)
# An origin that jobs name, since it was used.
ORIGINS_KEPT: Final = timedelta(days=1)
# By how much the clocks of gateways, workers and sinks may differ.
_CLOCKS_APART: Final = timedelta(seconds=10)


def is_due(completed_at: datetime, keep_until: datetime | None, now: datetime, retention: timedelta) -> bool:
    """Whether an ended job is to be purged."""
    return keep_until <= now if keep_until is not None else completed_at <= now - retention


def is_past(end: Terminal, now: datetime, retention: timedelta) -> bool:
    """Whether a job that ended so has been purged, if the store does not have it.

    Its record may come again for as long as Kafka keeps it. Nobody waits for it any more once its deadline has passed.
    """
    return end.expires_at <= now and is_due(end.completed_at, end.keep_until, now, retention)


def may_be_purged(job: Job, now: datetime) -> bool:
    """Whether a job that was sent, and has no row, may have had one: it may have ended since, and been purged.

    To write it down as queued would show a job that never ends before its deadline, and then once more. One without a
    time of its own is kept for the sink's, which is `MIN_RETENTION_S` at least.
    """
    kept_s = MIN_RETENTION_S if job.retention_s is None else job.retention_s
    return now - job.created_at >= timedelta(seconds=kept_s) - _CLOCKS_APART
