"""LitServe: an API with batching."""

import sys

import litserve

from benchmarks.peers.lookup import BATCH_ROWS, COLLECT_S, predict


class Lookup(litserve.LitAPI):
    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: list[int]) -> list[int]:
        return request

    def predict(self, x: list[list[int]]) -> list[float]:
        return predict(x)

    def encode_response(self, output: float) -> float:
        return output


if __name__ == "__main__":
    api = Lookup(max_batch_size=BATCH_ROWS, batch_timeout=COLLECT_S)
    litserve.LitServer(api, accelerator="cpu").run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False)
