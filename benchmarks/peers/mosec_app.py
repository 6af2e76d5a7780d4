"""mosec: a worker whose forward takes a batch."""

from mosec import Server, Worker

from benchmarks.peers.lookup import BATCH_ROWS, COLLECT_S, predict


class Lookup(Worker):
    def forward(self, data: list[list[int]]) -> list[float]:
        return predict(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Lookup, num=1, max_batch_size=BATCH_ROWS, max_wait_time=int(COLLECT_S * 1000))
    server.run()
