"""What a route costs a submit: in turn without one, with one that leaves all jobs where they went, and with a split.

All over one and the same gateway.
"""

import asyncio
from contextlib import closing
from itertools import count

import orjson

from benchmarks.digits_peers import used
from benchmarks.figures import Rounds, Table, ratio
from benchmarks.gateway import gateways, prepare
from benchmarks.http import Client
from benchmarks.load import Target
from benchmarks.models import Models
from benchmarks.services import services
from benchmarks.submit_rate import PATH, Run, job, one_run
from producers.kafka_publisher import KafkaPublisher
from runtime.clock import now_utc
from runtime.settings import KafkaSettings
from schemas.records import OutRecord
from schemas.route_documents import encode_route
from schemas.routes import Route

PREFIX = "routing"
SECONDS = 6.0
HEARD_WITHIN_S = 10.0
POLL_S = 0.05
JSON = {"Content-Type": "application/json"}
# Digits has versions 1 and 2, of which 2 is the default.
ROUTES = {
    "no route": None,
    "a route, all to one version": {"2": 10_000},
    "a route, split 90/10": {"1": 1000, "2": 9000},
}


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    runs: dict[str, list[Run]] = {name: [] for name in ROUTES}
    async with services(shorten=shorten) as stack:
        settings = await prepare(stack, models, PREFIX)
        async with KafkaPublisher(settings) as publisher, gateways(stack, models, PREFIX) as (running, port):
            pids = {"gateway": running[0].pid, "Kafka": stack.kafka.pid, "Postgres": stack.postgres.pid}
            target = Target(port, PATH, job(), used(pids))
            revisions = count(1)
            for _ in range(rounds):
                for name, versions in ROUTES.items():
                    made = None if versions is None else _route(versions, next(revisions))
                    await _told(settings, publisher, made, port)
                    runs[name].append(await one_run(target, SECONDS / shorten))
    return [_table(runs)]


def _route(versions: dict[str, int], revision: int) -> Route:
    return Route(
        model="digits",
        revision=revision,
        versions=versions,
        default="2",
        labels={"stable": "2", "canary": "1"},
        salt="digits",
        updated_at=now_utc(),
        updated_by="benchmark",
    )


async def _told(settings: KafkaSettings, publisher: KafkaPublisher, route: Route | None, port: int) -> None:
    """Publish the route, or that there is none, and wait until the gateway goes by it."""
    value = None if route is None else encode_route(route)
    await publisher.publish(OutRecord(settings.topics.routes, b"digits", value, [], partition=0))
    expected = None if route is None else route.revision
    async with asyncio.timeout(HEARD_WITHIN_S):
        with closing(Client("127.0.0.1", port)) as client:
            while True:
                answer = await client.request("POST", PATH, job().encode(), JSON)
                if orjson.loads(answer.body)["route_revision"] == expected:
                    return
                await asyncio.sleep(POLL_S)


def _table(runs: dict[str, list[Run]]) -> Table:
    per_s = {name: Rounds([run.per_s for run in each]) for name, each in runs.items()}
    gateway_us = {name: Rounds([run.cpu_us["gateway"] for run in each]) for name, each in runs.items()}
    postgres_us = {name: Rounds([run.cpu_us["Postgres"] for run in each]) for name, each in runs.items()}
    none = next(iter(runs))
    return Table(
        "Routing: submits a second of a gateway with a route, beside none (goal 0.97)",
        ["", "submits/s", "ratio", "gateway, us of a processor each", "Postgres, us of a processor each"],
        [
            [name, str(per_s[name]), ratio(per_s[name], per_s[none]), str(gateway_us[name]), str(postgres_us[name])]
            for name in runs
        ],
    )
