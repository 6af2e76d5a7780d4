"""One bad row among 64 good ones: how many of the good ones get their answer, here and elsewhere.

Every system is asked to collect all 65 rows into one batch. The model is the same lookup, and so is the bad row: a
token id that is none, for which the whole run raises.
"""

import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from benchmarks.figures import Table
from benchmarks.http import Client
from benchmarks.lookup_model import MODEL, VERSION, bodies, lookup_payloads, write_lookup
from benchmarks.models import Models
from benchmarks.peers.lookup import BATCH_ROWS
from benchmarks.processes import stranger, until_listening
from benchmarks.services import services
from benchmarks.worker_runs import count_results, publish, results_of, topics_for, worker
from benchmarks.workload import ROOT, lane_records
from penstock.embedded.stack import EmbeddedStack
from schemas.jobs import Payload, Status
from schemas.topics import Lane, LaneClass

PEERS: Final = ROOT / ".penstock" / "peers" / "bin" / "python"
BAD: Final = 40
ROWS: Final = [row == BAD for row in range(BATCH_ROWS)]
PATIENCE_S: Final = 10.0
LOOP_STARTS: Final = 2
LOOP_ENDS_WITHIN_S: Final = 60.0  # a group waits for the member that died before it lets the next one in


class Fate(NamedTuple):
    """What becomes of the good rows."""

    answered: int
    failed: int
    silent: int  # without any answer when patience ends


class HttpPeer(NamedTuple):
    """A server with a batching route. `arguments` start it with `{port}` filled in; `body` wraps a row."""

    arguments: Sequence[str]
    path: str
    body: Callable[[list[int]], object] = list


HTTP_PEERS: Final = {
    "mosec": HttpPeer(["-m", "benchmarks.peers.mosec_app", "--port", "{port}", "--address", "127.0.0.1"], "/inference"),
    "LitServe": HttpPeer(["-m", "benchmarks.peers.litserve_app", "{port}"], "/predict"),
    "BentoML": HttpPeer(
        ["-m", "bentoml", "serve", "benchmarks.peers.bentoml_app:Lookup", "--port", "{port}", "--host", "127.0.0.1"],
        "/predict",
        lambda row: {"rows": [row]},
    ),
}


async def measure(_models: Models, _rounds: int, _shorten: int) -> list[Table]:
    """One table: a row a system. The others are left out where their environment has not been built."""
    async with services() as stack:
        fates = {"Penstock": await ours(stack), "a plain Kafka loop, started twice": await naive(stack)}
        if PEERS.exists():
            fates["celery-batches"] = await celery(stack)
    for name, peer in HTTP_PEERS.items() if PEERS.exists() else ():
        fates[name] = await over_http(peer)
    return [
        Table(
            f"One bad row in a batch with {BATCH_ROWS - 1} good ones: what becomes of the good ones",
            ["system", "answered", "failed", f"no answer within {PATIENCE_S:.0f} s"],
            [[name, *map(str, fate)] for name, fate in fates.items()],
        )
    ]


async def ours(stack: EmbeddedStack) -> Fate:
    """All jobs wait in the lane before the worker starts."""
    lane, prefix = Lane(MODEL, VERSION, LaneClass.LIVE), "one-bad-row"
    settings = await topics_for(stack, prefix, [lane], 1)
    records = lane_records(settings.topics.lane(lane), lane, lookup_payloads(ROWS))
    await publish(settings, records)
    with tempfile.TemporaryDirectory() as folder:
        write_lookup(Path(folder), max_wait_s=1.0)
        async with worker(stack, prefix, Path(folder), MODEL, partitions=1) as serving:
            ends = {end.id: end.status for end in await results_of(settings, BATCH_ROWS, [serving.running], 1)}
    states = [ends[(record.key or b"").decode()] for record in records]
    if states.pop(BAD) is not Status.FAILED:
        raise RuntimeError("the bad row has an answer")
    return Fate(states.count(Status.SUCCEEDED), states.count(Status.FAILED), 0)


async def naive(stack: EmbeddedStack) -> Fate:
    """`naive_loop` on digits, with a row of too few pixels. It ends, and whoever supervises it starts it again."""
    lane, prefix = Lane("digits", "1", LaneClass.LIVE), "one-bad-loop"
    settings = await topics_for(stack, prefix, [lane], 1)
    data = [[0.0] * (63 if place == BAD else 64) for place in range(BATCH_ROWS)]
    payloads = [Payload(orjson.dumps({"inputs": [{"data": pixels}]})) for pixels in data]
    topic = settings.topics.lane(lane)
    await publish(settings, lane_records(topic, lane, payloads))
    model = ROOT / "examples" / "models" / "digits" / "1" / "model.onnx"
    told = [stack.kafka_bootstrap_servers, topic, settings.topics.results, f"{prefix}.naive", str(model)]
    for _ in range(LOOP_STARTS):
        async with (
            stranger(sys.executable, ["-m", "benchmarks.naive_loop", *told]) as loop,
            asyncio.timeout(LOOP_ENDS_WITHIN_S),
        ):
            if await loop.ended() == 0:
                raise RuntimeError("the loop has survived")
    answered = await count_results(settings, 1)
    return Fate(answered, 0, BATCH_ROWS - 1 - answered)


async def celery(stack: EmbeddedStack) -> Fate:
    """A worker and a client, with Redis as broker and as the store of results."""
    told = {"PEER_REDIS_URL": stack.redis_url}
    serve = ["-m", "celery", "-A", "benchmarks.peers.celery_app", "worker", "--loglevel=CRITICAL", "--concurrency=1"]
    ask = ["-m", "benchmarks.peers.celery_client", json.dumps(bodies(ROWS)), str(PATIENCE_S)]
    async with (
        stranger(PEERS, serve, told),
        stranger(PEERS, ask, told) as client,
    ):
        states = Counter(orjson.loads(await client.output()))
    return _good(states)


async def over_http(peer: HttpPeer) -> Fate:
    """All requests at once, each on a connection of its own."""
    port = Models.free_port()
    arguments = [argument.format(port=port) for argument in peer.arguments]
    async with stranger(PEERS, arguments) as running:
        await until_listening(port, running)
        client = Client("127.0.0.1", port)
        states = await asyncio.gather(*(_ask(client, peer.path, peer.body(row)) for row in bodies(ROWS)))
        client.close()
    return _good(Counter(states))


async def _ask(client: Client, path: str, body: object) -> str:
    try:
        async with asyncio.timeout(PATIENCE_S):
            answer = await client.request("POST", path, orjson.dumps(body), {"Content-Type": "application/json"})
    except TimeoutError:
        return "silent"
    return "answered" if answer.status == 200 else "failed"


def _good(states: Counter[str]) -> Fate:
    """The fates without the bad row's own."""
    states["silent" if not states["failed"] else "failed"] -= 1
    return Fate(states["answered"], states["failed"], states["silent"])
