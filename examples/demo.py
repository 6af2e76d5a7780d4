"""The whole road in one go: start everything, submit handwritten digits in three ways, show the answers, stop.

    make demo            or: python examples/demo.py

Nothing is left behind. `make up` starts the same and leaves it running.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer
from numpy.typing import NDArray
from PIL import Image
from rich.columns import Columns
from rich.console import Console, Group
from rich.style import Style
from rich.text import Text

from penstock.errors import StackError
from penstock.stack import Stack
from producers.bulk.results import ResultsReader
from runtime.settings import KafkaSettings
from schemas.errors import PenstockError
from schemas.jobs import Status, Terminal

HERE = Path(__file__).parent
MODELS = HERE / "models"
HELD_OUT = HERE / "digits" / "held_out.npz"
PNG = HERE / "digits" / "images" / "7.png"
ANSWER_TIMEOUT_S = 30.0
INK = 16  # the darkest pixel
A_WAY = 4  # digits by each way

Scan = NDArray[np.uint8]  # [8, 8], 0 (paper) to 16 (ink)


class Digit(NamedTuple):
    scan: Scan
    label: int


class Answer(NamedTuple):
    """What the model says, how sure it is (0 to 1), and how long the answer took in seconds."""

    label: int
    confidence: float
    seconds: float


def held_out() -> list[Digit]:
    """Scans that no model here has seen in training: twice the ten digits."""
    with np.load(HELD_OUT) as data:
        images, labels = data["images"], data["labels"]
    ranked = [np.flatnonzero(labels == digit) for digit in range(10)]
    return [Digit(images[rows[turn]], digit) for turn in (0, 1) for digit, rows in enumerate(ranked)]


def read_predictions(result: bytes) -> tuple[int, float]:
    """Label and confidence of the only row of `{"predictions": [...]}`."""
    (prediction,) = msgspec.json.decode(result)["predictions"]
    return int(prediction["label"]), float(max(prediction["probabilities"].values()))


def read_tensors(result: bytes) -> tuple[int, float]:
    """Label and confidence of the only row of an Open Inference Protocol response."""
    outputs = {output["name"]: output["data"] for output in msgspec.json.decode(result)["outputs"]}
    return int(outputs["label"][0]), float(max(outputs["probabilities"]))


class OverHttp:
    """Submits and waits for the answer in the same request."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def tensors(self, scan: Scan) -> tuple[int, float]:
        """As tensors of the Open Inference Protocol."""
        image = {"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": scan.ravel().tolist()}
        body = msgspec.json.encode({"inputs": [image]})
        return read_tensors(await self._result(body, "application/json"))

    async def png(self, content: bytes) -> tuple[int, float]:
        """As the picture it is: the model's signature says how it becomes a tensor."""
        return read_predictions(await self._result(content, "image/png"))

    async def _result(self, body: bytes, content_type: str) -> bytes:
        headers = {"Content-Type": content_type, "Prefer": f"wait={ANSWER_TIMEOUT_S:.0f}"}
        answer = await self._client.post("/v1/models/digits/jobs", content=body, headers=headers)
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
        if job["status"] != Status.SUCCEEDED:
            raise RuntimeError(f"the job is {job['status']}: {job['error']}")
        return msgspec.json.encode(job["result"])


class OverKafka:
    """Writes plain JSON records, as any Kafka client can, and watches the results topic."""

    def __init__(self, producer: Any, topic: str) -> None:
        self._producer = producer  # aiokafka ships no types
        self._topic = topic
        self._results: dict[str, asyncio.Future[Terminal]] = {}

    async def collect(self, reader: ResultsReader) -> None:
        async for terminal in reader.terminals():
            result = self._result(terminal.id)
            if not result.done():
                result.set_result(terminal)

    async def instances(self, scan: Scan) -> tuple[int, float]:
        """A record needs its model's name and its input. Its place in the topic is the job's id."""
        value = msgspec.json.encode({"instances": [scan.tolist()]})
        written = await self._producer.send_and_wait(self._topic, value, headers=[("model", b"digits")])
        job_id = f"{written.topic}-{written.partition}-{written.offset}"
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            terminal = await self._result(job_id)
        if terminal.result is None:
            raise RuntimeError(f"the job is {terminal.status}: {terminal.error}")
        return read_predictions(terminal.result.value)

    def _result(self, job_id: str) -> asyncio.Future[Terminal]:
        return self._results.setdefault(job_id, asyncio.get_running_loop().create_future())


async def timed(ask: Callable[[], Awaitable[tuple[int, float]]]) -> Answer:
    began = time.perf_counter()
    label, confidence = await ask()
    return Answer(label, confidence, time.perf_counter() - began)


def picture(scan: Scan, *, color: bool) -> Text:
    """The scan in 16 by 8 characters: gray half blocks where there are colors, else shades."""
    if not color:
        shades = " ░▒▓█"
        lines = ["".join(shades[(int(ink) * (len(shades) - 1) + INK // 2) // INK] * 2 for ink in row) for row in scan]
        return Text("\n".join(lines))
    drawn = Text()
    levels = Image.fromarray((scan.astype(np.float32) * 255 / INK).astype(np.uint8))
    smooth = np.asarray(levels.resize((16, 16), Image.Resampling.BICUBIC))
    for upper, lower in zip(smooth[::2], smooth[1::2], strict=True):
        for top, bottom in zip(upper, lower, strict=True):
            drawn.append("▀", Style(color=gray(top), bgcolor=gray(bottom)))
        drawn.append("\n")
    drawn.right_crop(1)
    return drawn


def gray(level: np.uint8) -> str:
    return f"rgb({level},{level},{level})"


def caption(digit: Digit, answer: Answer) -> Text:
    right = answer.label == digit.label
    verdict = f"{answer.label}" if right else f"{answer.label}, not {digit.label}"
    line = Text(f"{verdict}  {answer.confidence:.1%}", style="bold green" if right else "bold red")
    return line.append(f"\nin {answer.seconds * 1000:.1f} ms", style="not bold default")


class Gallery:
    """Shows digits beside their answers, and keeps count."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.asked = 0
        self.right = 0

    def show(self, title: str, answered: Iterable[tuple[Digit, Answer]]) -> None:
        shown = []
        for digit, answer in answered:
            self.asked += 1
            self.right += answer.label == digit.label
            drawn = picture(digit.scan, color=self._console.color_system is not None)
            shown.append(Group(drawn, caption(digit, answer), ""))
        self._console.print(Text(title, style="bold"))
        self._console.print()
        self._console.print(Columns(shown, width=17, padding=(0, 2)))


async def tour(stack: Stack, console: Console, began: float) -> None:
    """Nine digits by three ways. Raises whatever keeps an answer from coming."""
    digits, gallery = held_out(), Gallery(console)
    console.print(f"Ready after {time.monotonic() - began:.1f} s. While it runs: {stack.gateway_url}/docs\n")
    kafka = KafkaSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers)
    async with AsyncExitStack() as open_until_done:
        client = await open_until_done.enter_async_context(
            httpx.AsyncClient(base_url=stack.gateway_url, timeout=2 * ANSWER_TIMEOUT_S)
        )
        http = OverHttp(client)
        first = await timed(partial(http.tensors, digits[0].scan))
        console.print(f"First result {time.monotonic() - began:.1f} s after the start.\n", style="bold")
        others = [await timed(partial(http.tensors, digit.scan)) for digit in digits[1:A_WAY]]
        gallery.show("Over HTTP, as JSON tensors", zip(digits, [first, *others], strict=False))
        seven = digits[7]._replace(label=int(PNG.stem))
        gallery.show(f"Over HTTP, as the file {PNG.name}", [(seven, await timed(partial(http.png, PNG.read_bytes())))])

        producer = AIOKafkaProducer(**kafka.client_options())
        await producer.start()
        open_until_done.push_async_callback(producer.stop)
        reader = await open_until_done.enter_async_context(ResultsReader(kafka))
        direct = OverKafka(producer, kafka.topics.requests)
        collecting = asyncio.create_task(direct.collect(reader))
        open_until_done.callback(collecting.cancel)
        chosen = digits[-A_WAY:]
        answers = [await timed(partial(direct.instances, digit.scan)) for digit in chosen]
        gallery.show("Straight to Kafka, as plain JSON records", zip(chosen, answers, strict=True))
    console.print(f"{gallery.right} of {gallery.asked} right.")


async def demo(console: Console) -> None:
    began = time.monotonic()
    console.print("Starting Postgres, Valkey, Kafka, gateway, router, worker and sink.")
    async with Stack(None, models=MODELS, announce=lambda line: console.print(line, markup=False)) as stack:
        await tour(stack, console, began)
        stopping = time.monotonic()
    console.print(f"Stopped in {time.monotonic() - stopping:.1f} s; nothing is left. To keep it running: make up")


def main() -> int:
    console = Console(highlight=False)
    try:
        asyncio.run(demo(console))
    except (StackError, PenstockError, httpx.HTTPError, RuntimeError) as error:
        console.print(f"Error: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
