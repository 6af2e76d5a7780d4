"""Counts what a piece of work visits at run time: files, functions, tasks, and how often it comes back to a file.

    python -m tools.road submit          one submit through a whole gateway, on embedded services
    python -m tools.road waiting         the same of one that waits for its result, with a worker that answers at once
    python -m tools.road micro-batch     one micro-batch through a worker's parts, over the twins of its services
    python -m tools.road submit --names  the same, with every function in the order of the first visit

Other work is counted from Python: `await trace(work, packages)`, where `work` is an async function that does it once.
"""

import argparse
import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
import numpy as np

if TYPE_CHECKING:
    from gateway.settings import GatewaySettings
    from schemas.topics import Lane

REPOSITORY: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("schemas", "runtime", "stores", "producers", "gateway", "workers", "penstock")
# They stand in for services, and are no part of any road.
TWINS: Final = ("producers/memory.py", "stores/memory", "workers/memory.py")

Listener = Callable[[FrameType, str, object], None]
RunElsewhere = Callable[[Callable[[], None]], Awaitable[object]]


class Road(NamedTuple):
    """`entries`: each file with the function entered there, whenever one is entered; a coroutine that goes on, too."""

    entries: list[tuple[str, str]]
    tasks: list[str]

    @property
    def visits(self) -> list[str]:
        """The files in the order of the visits."""
        files = [file for file, _ in self.entries]
        return [file for place, file in enumerate(files) if place == 0 or files[place - 1] != file]

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(self.visits))

    @property
    def functions(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys(self.entries))

    def __str__(self) -> str:
        return (
            f"{len(self.files)} files, {len(self.functions)} functions, {len(self.tasks)} tasks, "
            f"{len(self.visits)} visits to files, {len(self.visits) - len(self.files)} of them returns"
        )


async def trace(
    work: Callable[[], Awaitable[object]],
    packages: Collection[str] = PACKAGES,
    *,
    repository: Path = REPOSITORY,
    times: int = 15,
    run_elsewhere: RunElsewhere | None = None,
) -> Road:
    """The shortest road of `times`: what runs beside the work now and then is then not among it.

    `run_elsewhere` runs a function in a thread that stands already, and that does a part of the work.
    """
    await work()  # what is done once only is no part of the road
    roads = []
    for _ in range(times):
        with _listening(packages, repository) as (road, listen):
            if run_elsewhere is not None:
                await run_elsewhere(lambda listen=listen: sys.setprofile(listen))  # type: ignore[misc]
            road.entries.clear()
            await work()
        if run_elsewhere is not None:
            await run_elsewhere(lambda: sys.setprofile(None))
        roads.append(road)
    return min(roads, key=lambda road: len(road.visits))


@contextmanager
def _listening(packages: Collection[str], repository: Path) -> Iterator[tuple[Road, Listener]]:
    roots = tuple(f"{repository / package}/" for package in packages)
    twins = tuple(f"{repository / twin}" for twin in TWINS)
    road = Road([], [])

    def listen(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(roots) and not code.co_filename.startswith(twins):
            road.entries.append((str(Path(code.co_filename).relative_to(repository)), code.co_qualname))

    def count(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        code = getattr(work, "cr_code", None)
        if code is not None and code.co_filename.startswith(roots):
            road.tasks.append(code.co_qualname)
        return asyncio.Task(work, loop=loop, **options)

    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(count)
    threading.setprofile(listen)
    sys.setprofile(listen)
    try:
        yield road, listen
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        loop.set_task_factory(before)


async def submit_road() -> Road:
    """One submit, from the socket to its 202, with Kafka, Postgres and Valkey behind."""
    return await _gateway_road({}, status=202)


async def waiting_road() -> Road:
    """One submit, from the socket to its result: what a gateway does, with an answer from elsewhere."""
    return await _gateway_road({"prefer": "wait=10"}, status=200)


async def _gateway_road(headers: dict[str, str], *, status: int) -> Road:
    from gateway.main import serve  # noqa: PLC0415 - `trace` needs none of these
    from gateway.settings import GatewaySettings  # noqa: PLC0415
    from penstock.embedded.ports import LOOPBACK, choose  # noqa: PLC0415
    from penstock.embedded.stack import EmbeddedStack  # noqa: PLC0415
    from producers.kafka_publisher import KafkaPublisher  # noqa: PLC0415
    from producers.topics import base_topics, ensure_topics, lane_topics  # noqa: PLC0415
    from schemas.catalog import encode_entry  # noqa: PLC0415
    from schemas.records import OutRecord  # noqa: PLC0415
    from schemas.topics import Lane, LaneClass  # noqa: PLC0415
    from stores.postgres import migrate  # noqa: PLC0415
    from tests.unit.gateway.house import SUBMIT, VECTOR, entry  # noqa: PLC0415
    from tests.waiting import eventually  # noqa: PLC0415

    async with EmbeddedStack(None) as services:
        (port,) = choose(1)
        url = f"http://{LOOPBACK}:{port}"
        settings = GatewaySettings(
            kafka_bootstrap_servers=services.kafka_bootstrap_servers,
            postgres_dsn=services.postgres_dsn,
            redis_url=services.redis_url,
            gateway_host=LOOPBACK,
            gateway_port=port,
            public_base_url=url,
        )
        await migrate(services.postgres_dsn)
        lanes = [Lane("vector", "1", cls) for cls in LaneClass]
        await ensure_topics(settings, [*base_topics(settings, 1), *lane_topics(settings, lanes, 1)])
        async with KafkaPublisher(settings) as publisher:
            announced = entry("vector", "1", VECTOR)
            await publisher.publish(OutRecord(settings.topics.catalog, announced.key, encode_entry(announced), []))
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(settings, stop))
        async with httpx.AsyncClient(base_url=url) as client:

            async def is_ready() -> bool:
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            async def submit() -> None:
                assert (await client.post("/v1/jobs", json=SUBMIT, headers=headers)).status_code == status  # noqa: S101

            await eventually(is_ready, timeout_s=30)
            with _elsewhere(_answer(settings, lanes[0])):
                road = await trace(submit)
        stop.set()
        await serving
        return road


@contextmanager
def _elsewhere(work: Coroutine[Any, Any, None]) -> Iterator[None]:
    """Runs `work` meanwhile, in a thread that stands before anything is traced: it is no part of the road."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.wait([task]),))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


async def _answer(settings: "GatewaySettings", lane: "Lane") -> None:
    """Stands for a worker and the sink: tells at once how each job of the lane ended."""
    from aiokafka import AIOKafkaConsumer  # noqa: PLC0415 - as above

    from runtime.clock import now_utc  # noqa: PLC0415
    from schemas.jobs import Payload, end_of  # noqa: PLC0415
    from schemas.records import read_lane_record  # noqa: PLC0415
    from stores.protocols import JobKey  # noqa: PLC0415
    from stores.redis import RedisSignals  # noqa: PLC0415

    consumer = AIOKafkaConsumer(settings.topics.lane(lane), **settings.consumer_options())
    async with consumer, RedisSignals(settings.redis_url.get_secret_value(), prefix=settings.topic_prefix) as signals:
        async for record in consumer:
            job = read_lane_record(tuple(record.headers), record.value)
            end = end_of(job, Payload(b'{"outputs":[]}'), now_utc())
            await signals.announce_done([JobKey(job.tenant, job.id)], [end])


async def micro_batch_road() -> Road:
    """One micro-batch of four jobs, from its records to its results and to what is committed."""
    from tests.unit.inference.jobs import lane_job, request_of  # noqa: PLC0415 - as above
    from tests.unit.inference.models import Adder  # noqa: PLC0415
    from tests.unit.inference.worker import small_worker  # noqa: PLC0415
    from tests.waiting import eventually  # noqa: PLC0415

    payload = request_of({"x": np.ones((1, 1), np.float32)})
    async with small_worker(Adder()) as worker:
        ended = 0

        async def four_jobs() -> None:
            nonlocal ended
            ended += 4
            await worker.submit(*[lane_job(payload=payload) for _ in range(4)])
            await eventually(lambda: len(worker.ends()) == ended and not worker.open_count and not worker.starts.counts)

        return await trace(four_jobs, run_elsewhere=worker.engine._thread.submit)  # noqa: SLF001 - it is looked into


ROADS: Final = {"submit": submit_road, "waiting": waiting_road, "micro-batch": micro_batch_road}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("road", choices=ROADS)
    parser.add_argument("--names", action="store_true", help="name every function that is visited")
    asked = parser.parse_args()
    road = asyncio.run(ROADS[asked.road]())
    print(road)  # noqa: T201 - a command
    if asked.names:
        for file, function in road.functions:
            print(f"  {file}  {function}")  # noqa: T201
        print("tasks:", ", ".join(road.tasks))  # noqa: T201


if __name__ == "__main__":
    main()
