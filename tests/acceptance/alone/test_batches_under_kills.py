"""A batch while everything that it passes through is killed: each of its lines ends once, and rightly."""

import asyncio
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from anyio.from_thread import BlockingPortal
from click.testing import CliRunner

from penstock.cli import main
from penstock.stack import Stack
from tests.acceptance.opening import heard, opened
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)

LINES = 20_000
ENDPOINT = "/v1/models/iris/jobs"
KILLED = ("feeder", "worker", "sink", "feeder", "gateway", "feeder")


@pytest.fixture(scope="module")
def stack(portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    models = tmp_path_factory.mktemp("killed") / "models"
    assert CliRunner().invoke(main, ["init", str(models)]).exit_code == 0
    whole = heard(models=models, feeders=1, environ=os.environ)
    with portal.wrap_async_context_manager(opened(whole)):
        yield whole


def line(number: int) -> str:
    body = {"instances": [[number % 8, 3.5, 1.4, 0.2]] if number % 1000 else [[1.0]]}
    return json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": ENDPOINT, "body": body})


async def test_each_line_has_one_end_whatever_is_killed(stack: Stack, tmp_path: Path) -> None:
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{stack.gateway_url}/v1", max_retries=10) as sdk:
        # Given a batch with some lines that the model cannot take
        text = "\n".join(map(line, range(LINES))).encode()
        file = await sdk.files.create(file=("lines.jsonl", text), purpose="batch")
        given: Any = {"endpoint": ENDPOINT, "completion_window": "24h"}
        batch = await sdk.batches.create(input_file_id=file.id, **given)

        # When what it passes through is killed, again and again
        chance = random.Random(7)  # noqa: S311
        for name in KILLED:
            completed = await counted(sdk, batch.id)

            async def goes_on(known: int = completed + chance.randrange(1, 2000)) -> bool:
                return await counted(sdk, batch.id) >= min(known, LINES)

            await eventually(goes_on, 60, "the batch goes on")
            stack.role(name).kill()

        # Then it ends, and each line has its one end
        async def is_over() -> bool:
            return (await sdk.batches.retrieve(batch.id)).status == "completed"

        await eventually(is_over, 120, "the batch has ended")
        done = await sdk.batches.retrieve(batch.id)
        outputs, errors = await asyncio.gather(
            *(lines_of(sdk, each) for each in (done.output_file_id, done.error_file_id))
        )
    bad = {f"line-{number}" for number in range(0, LINES, 1000)}
    assert sorted(errors) == sorted(bad)
    assert sorted(outputs) == sorted({f"line-{number}" for number in range(LINES)} - bad)


async def counted(sdk: openai.AsyncOpenAI, batch_id: str) -> int:
    """How many lines have ended; they add up to the total at any time."""
    batch = await sdk.batches.retrieve(batch_id)
    counts = batch.request_counts
    assert counts is not None
    left: Any = counts.model_extra
    assert counts.total == counts.completed + counts.failed + left["processing"] + left["expired"] + left["cancelled"]
    return counts.completed + counts.failed


async def lines_of(sdk: openai.AsyncOpenAI, file_id: str | None) -> list[str]:
    assert file_id is not None
    text = (await sdk.files.content(file_id)).text
    return [json.loads(each)["custom_id"] for each in text.splitlines()]
