"""What a promise of a deadline is worth on real parts: a whole stack, and a simulated device of a steady rate.

Batches come at random, each with a deadline. One that is refused asks again with the time that it was told, so that
this time can be held against its end. All that was promised runs to its end.
"""

import asyncio
import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import numpy as np

from benchmarks.figures import Table
from benchmarks.models import Models
from benchmarks.promise_simulation import SPREAD
from benchmarks.simulated import MODEL, TRUST, write_simulated
from penstock.stack import Stack
from schemas.errors import DeadlineUnattainable

LOADS: Final = (0.8, 1.0, 1.2)
SECONDS: Final = 480.0
BATCH_ROWS: Final = 64
DEVICE: Final = {"fixed_s": 0.01, "row_s": 0.001}  # 865 rows a second
MEAN_ROWS: Final = 20_000
# Until its deadline a batch has so many times what it takes alone, and an allowance for what is in the lane.
LEAST_ROOM, MOST_ROOM, ALLOWANCE_S = 1.2, 5.0, 15.0
LEARNED_BY_ROWS: Final = 30_000  # what runs before anything is asked
ENDPOINT: Final = f"/v1/models/{MODEL}/jobs"
_LINE: Final = '{"custom_id": "%d", "method": "POST", "url": "%s", "body": {"instances": [%d]}}\n'


class Asked(NamedTuple):
    """A batch that was promised. Times are Unix seconds; `refused` says that it was told `deadline`."""

    id: str
    at: float
    deadline: float
    refused: bool


class Ended(NamedTuple):
    asked: Asked
    at: float

    @property
    def kept(self) -> bool:
        return self.at <= self.asked.deadline

    @property
    def told_over_lived(self) -> float:
        return (self.asked.deadline - self.asked.at) / (self.at - self.asked.at)


async def measure(_models: Models, _rounds: int, shorten: int) -> list[Table]:
    seconds = SECONDS / shorten
    with tempfile.TemporaryDirectory() as folder:
        write_simulated(Path(folder), DEVICE, BATCH_ROWS, adaptive=False)
        stack = Stack(None, models=Path(folder), feeders=1, environ=os.environ | TRUST)
        async with stack, httpx.AsyncClient(base_url=stack.gateway_url, timeout=60) as http:
            rate = await learned(http, LEARNED_BY_ROWS // shorten)
            rows = [[f"{load:.0%}", *_figures(await loaded(http, load, rate, seconds))] for load in LOADS]
    title = f"Deadlines of batches on a whole stack, {seconds:.0f} s a load; who is refused asks again as told"
    columns = ["load", "batches", "promised at once", "kept", "told within 20 % of the end", "told over lived: median"]
    return [Table(title, columns, rows)]


def _figures(ended: list[Ended]) -> list[str]:
    told = np.array([each.told_over_lived for each in ended if each.asked.refused])
    return [
        str(len(ended)),
        str(sum(not each.asked.refused for each in ended)),
        f"{sum(each.kept for each in ended)} of {len(ended)}",
        f"{int((np.abs(told - 1) <= 0.2).sum())} of {len(told)}" if len(told) else "-",
        f"{float(np.median(told)):.2f}" if len(told) else "-",
    ]


async def learned(http: httpx.AsyncClient, rows: int) -> float:
    """Rows a second that one large batch does; by then the ledger knows it as well."""
    began = datetime.now(UTC).timestamp()
    batch = await _create(http, await _upload(http, rows))
    return rows / (await _ended_at(http, batch["id"]) - began)


async def loaded(http: httpx.AsyncClient, load: float, rate: float, seconds: float) -> list[Ended]:
    chance = np.random.default_rng(round(100 * load))
    loop = asyncio.get_running_loop()
    began, at, asking = loop.time(), 0.0, []
    while (at := at + chance.exponential(MEAN_ROWS / (rate * load))) < seconds:
        rows = max(1, round(MEAN_ROWS * float(chance.lognormal(-(SPREAD**2) / 2, SPREAD))))
        room = float(np.exp(chance.uniform(np.log(LEAST_ROOM), np.log(MOST_ROOM))))
        await asyncio.sleep(max(0.0, began + at - loop.time()))
        asking.append(asyncio.create_task(_lived(http, rows, ALLOWANCE_S + room * rows / rate)))
    return await asyncio.gather(*asking)


async def _lived(http: httpx.AsyncClient, rows: int, within_s: float) -> Ended:
    file_id = await _upload(http, rows)
    now = datetime.now(UTC)
    deadline, refused = now + timedelta(seconds=within_s), False
    while True:
        answer = await http.post("/v1/batches", json=_asked(file_id) | {"deadline": deadline.isoformat()})
        if answer.status_code == httpx.codes.OK:
            break
        if answer.json()["error"]["code"] != DeadlineUnattainable.code:
            raise RuntimeError(answer.text)
        deadline, refused = _told(answer.json()["error"]["message"]), True
    asked = Asked(answer.json()["id"], now.timestamp(), deadline.timestamp(), refused)
    return Ended(asked, await _ended_at(http, asked.id))


def _told(message: str) -> datetime:
    return next(datetime.fromisoformat(word) for word in message.split(": ")[1].split() if word.endswith("Z"))


async def _upload(http: httpx.AsyncClient, rows: int) -> str:
    lines = "".join(_LINE % (number, ENDPOINT, number) for number in range(rows)).encode()
    answer = await http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("rows.jsonl", lines)})
    return str(answer.raise_for_status().json()["id"])


def _asked(file_id: str) -> dict[str, Any]:
    return {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h"}


async def _create(http: httpx.AsyncClient, file_id: str) -> dict[str, Any]:
    answer = await http.post("/v1/batches", json=_asked(file_id))
    return dict(answer.raise_for_status().json())


async def _ended_at(http: httpx.AsyncClient, batch_id: str) -> float:
    """When, to half a second: the object has whole seconds."""
    while True:
        batch = json.loads((await http.get(f"/v1/batches/{batch_id}")).raise_for_status().text)
        if batch["status"] == "completed":
            return datetime.now(UTC).timestamp()
        if batch["status"] in ("failed", "expired", "cancelled"):
            raise RuntimeError(f"{batch_id} has {batch['status']}")
        await asyncio.sleep(0.5)
