"""mosec: the digits, in batches, answered to whoever waits. Nothing is kept."""

from typing import Any

from mosec import Server, Worker

from benchmarks.peers.digits import BATCH_ROWS, COLLECT_S, Digits


class Model(Worker):
    def __init__(self) -> None:
        super().__init__()
        self._digits = Digits()

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self._digits.predict(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Model, num=1, max_batch_size=BATCH_ROWS, max_wait_time=int(COLLECT_S * 1000))
    server.run()
