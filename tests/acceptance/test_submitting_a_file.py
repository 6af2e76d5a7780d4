"""`penstock submit`: the jobs of a JSONL file, to the gateway or straight to Kafka."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import digits, jobs

COUNT = 60


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Digits one to a line, in both forms of a line, and one line that is wrong."""
    rows = digits.images(COUNT)
    lines: list[jobs.Json] = [
        {"custom_id": f"row-{number}", "model": "digits", "input": {"instances": rows[[number]].tolist()}}
        for number in range(COUNT // 2)
    ]
    lines += [
        {"custom_id": f"row-{number}", "instances": rows[[number]].tolist()} for number in range(COUNT // 2, COUNT)
    ]
    lines.append({"custom_id": "wrong", "instances": [[1.0]]})
    path = tmp_path / "digits.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


async def submit(stack: Stack, topics: Topics, to: str, file: Path, output: Path, *options: str) -> tuple[int, str]:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "penstock", "submit", str(file), "--to", to, "--model", "digits", "--output", str(output), *options),
        env={"PATH": "", "PENSTOCK_TOPIC_PREFIX": topics.prefix},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await program.communicate()
    assert program.returncode is not None
    return program.returncode, said.decode()


def outcomes(output: Path) -> dict[str, jobs.Json]:
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert len({line["line"] for line in lines}) == len(lines)
    return {line["custom_id"]: line for line in lines}


@pytest.mark.parametrize("way", ["http", "kafka"])
async def test_every_line_gets_its_own_answer_and_a_wrong_one_is_told(
    stack: Stack, topics: Topics, file: Path, tmp_path: Path, way: str
) -> None:
    to = stack.gateway_url if way == "http" else f"kafka://{stack.kafka_bootstrap_servers}"
    status, said = await submit(stack, topics, to, file, tmp_path / "out.jsonl")
    assert status == 1, said  # one line did not succeed
    found = outcomes(tmp_path / "out.jsonl")
    wrong = found.pop("wrong")
    assert wrong["status"] in ("rejected", "failed")
    assert wrong["error"]["code"] == "invalid_input"
    expected = {f"row-{number}": str(label) for number, label in enumerate(digits.labels(digits.images(COUNT)))}
    assert {name: line["result"]["predictions"][0]["label"] for name, line in found.items()} == expected
    assert {line["status"] for line in found.values()} == {"succeeded"}


async def test_the_same_command_again_runs_nothing_twice(
    stack: Stack, topics: Topics, file: Path, tmp_path: Path
) -> None:
    runs = []
    for _ in range(2):
        await submit(stack, topics, stack.gateway_url, file, tmp_path / "out.jsonl", "--run-id", str(tmp_path))
        runs.append({name: line["id"] for name, line in outcomes(tmp_path / "out.jsonl").items()})
    assert runs[0] == runs[1]
