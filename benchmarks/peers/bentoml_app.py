"""BentoML: a batchable API."""

import bentoml

from benchmarks.peers.lookup import BATCH_ROWS, COLLECT_S, predict


@bentoml.service(workers=1, traffic={"timeout": 60})
class Lookup:
    @bentoml.api(batchable=True, max_batch_size=BATCH_ROWS, max_latency_ms=int(COLLECT_S * 1000))
    def predict(self, rows: list[list[int]]) -> list[float]:
        return predict(rows)
