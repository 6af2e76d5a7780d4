"""What the controller of rollouts counts of its own work."""

from prometheus_client import Counter, Gauge

STATS_RECORDS = Counter(
    "penstock_rollout_stats_records_total",
    "Records of what workers counted, by what became of them: counted, unjudged (counted, but its interval had "
    "been judged: its worker is late), repeated, late, ahead, clock (left out: its worker's is wrong), no_room (more "
    "than may be kept), unreadable",
    ["outcome"],
)
MOVES = Counter(
    "penstock_rollout_moves_total",
    "Rollouts that the controller moved, by model and verb: promote_step, weigh, rollback",
    ["model", "verb"],
)
WINDOWS = Gauge("penstock_rollout_windows", "Records of workers, and sums of older ones, that are kept")
STATS_AGE = Gauge(
    "penstock_rollout_stats_age_seconds", "How long ago all was read that workers had told; -1: not read here"
)
