"""What a feeder counts."""

from typing import Final

from prometheus_client import Counter, Gauge

OPEN: Final = Gauge("penstock_feeder_open_batches", "Batches that have not ended.")
ROWS_IN_LANES: Final = Gauge("penstock_feeder_rows_in_lanes", "Rows of batches that were sent, and not collected yet.")
LINES: Final = Counter("penstock_feeder_lines_total", "Lines of batches whose blocks have ended.")
