"""Everything that is kept for a time only: each table of the store, what is due in it, and how it goes."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from stores.postgres.places import REST, SLOTS, slot_table
from stores.postgres.purging.by_index import ByIndex
from stores.postgres.purging.by_walk import ByWalk
from stores.postgres.purging.rule import Rule
from stores.postgres.purging.slots import LONGEST, Slots
from stores.replays import KEY_KEPT
from stores.retention import AUDIT_KEPT, FEEDBACK_KEPT, REVISIONS_KEPT, ROLLOUTS_KEPT, SHADOWS_KEPT, VERSION_COUNTS_KEPT

# One that stood until lately is the way back from the one that stands.
_OLD_REVISION: Final = """
updated_at < $1 and exists (
    select from route_revisions newer
    where newer.model = route_revisions.model and newer.revision > route_revisions.revision and newer.updated_at < $1
)
"""


def rules(retention: timedelta) -> Sequence[Rule]:
    """`retention`: how long ended jobs are kept that have no time of their own. What has not ended is never due."""
    return [
        ByIndex("idempotency_keys", "created_at < $1", kept=KEY_KEPT),
        ByIndex("rollouts", "ended_at < $1", kept=ROLLOUTS_KEPT),
        ByIndex("shadow_disagreements", "at < $1", kept=SHADOWS_KEPT),
        ByIndex("shadow_hours", "hour < $1", kept=SHADOWS_KEPT),
        ByIndex("feedback", "told_at < $1", kept=FEEDBACK_KEPT),
        ByIndex("version_counts", "began_at < $1", kept=VERSION_COUNTS_KEPT),
        ByIndex("route_revisions", _OLD_REVISION, kept=REVISIONS_KEPT),
        ByIndex("audit_log", "at < $1", kept=AUDIT_KEPT),
        *(
            ByIndex("jobs", "keep_until <= $1 and completed_at is not null", source=source)
            for source in (*map(slot_table, range(SLOTS)), "only jobs")
        ),
        *(
            [Slots(retention)]
            if retention <= LONGEST
            else [ByWalk(slot, slot_table(slot), retention) for slot in range(SLOTS)]
        ),
        ByWalk(REST, "jobs", retention),
    ]
