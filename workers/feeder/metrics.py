"""What a feeder counts."""

from typing import Final

from prometheus_client import Counter, Gauge

LEADS: Final = Gauge("penstock_feeder_leads", "1 for the feeder that feeds, 0 for those that stand by.")
OPEN: Final = Gauge("penstock_feeder_open_batches", "Batches that have not ended.")
PROMISES: Final = Gauge("penstock_feeder_promised_batches", "Batches with a promised deadline that have not ended.")
PROMISED: Final = Counter(
    "penstock_feeder_promises_total",
    "Batches with a promised deadline that have ended, by whether it was kept.",
    ["outcome"],
)
ROWS_IN_LANES: Final = Gauge("penstock_feeder_rows_in_lanes", "Rows of batches that were sent, and not collected yet.")
LINES: Final = Counter("penstock_feeder_lines_total", "Lines of batches that have ended, by how they did.", ["end"])
ROWS: Final = Counter(
    "penstock_feeder_rows_total", "Rows of batches that were sent; those that were sent again count again."
)
DIVIDED: Final = Counter(
    "penstock_feeder_divided_total", "Blocks that failed as a whole, and were sent again in halves."
)
TROUBLES: Final = Counter("penstock_feeder_troubles_total", "Times that a batch could not go on, and was read anew.")
