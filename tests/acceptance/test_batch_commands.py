"""`penstock batch` on the running stack."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from penstock.stack import Stack
from tests.waiting import eventually

IMAGE = [[float(place) for place in range(8)] for _ in range(8)]


@pytest.fixture
def run(stack: Stack, tmp_path: Path) -> "Run":
    return Run(stack.gateway_url, tmp_path)


class Run:
    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder

    def __call__(self, *arguments: str, code: int = 0, told: bool = False) -> str:
        """What it writes; what it tells beside that, if it is `told`."""
        done = subprocess.run(
            [sys.executable, "-m", "penstock", "batch", *arguments, "--gateway", self._url],
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stderr if told else done.stdout


async def fetch(stack: Stack, sql: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
    finally:
        await connection.close()
    return rows


def lines_in(path: Path) -> dict[str, object]:
    return {line["custom_id"]: line for line in map(json.loads, path.read_text().splitlines())}


def write(path: Path, bodies: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies))


def test_inputs_alone_are_submitted_awaited_and_written_to_files(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [{"instances": [IMAGE]}, {"instances": [[1.0]]}, {"instances": [IMAGE] * 2}])
    shown = run(
        *("submit", "rows.jsonl", "--model", "digits", "--output", "out.jsonl", "--errors", "err.jsonl"),
        *("--metadata", "order=17", "--json"),
        code=1,
    )
    batch = json.loads(shown)
    assert (batch["status"], batch["metadata"]) == ("completed", {"order": "17"})
    assert lines_in(tmp_path / "out.jsonl").keys() == {"line-1", "line-3"}
    assert lines_in(tmp_path / "err.jsonl").keys() == {"line-2"}

    status = run("status", batch["id"])
    assert "3 (2 completed, 1 failed)" in status
    assert batch["id"] in run("list", "--limit", "1")
    partial = run("results", batch["id"], "--partial")
    assert {json.loads(line)["custom_id"] for line in partial.splitlines()} == {"line-1", "line-2", "line-3"}
    run("cancel", batch["id"], code=1)
    run("results", batch["id"], "--output", "again.jsonl", "--errors", "err2.jsonl", code=1)
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def test_a_deadline_is_promised_or_refused_with_one_that_could_be_kept(run: Run, stack: Stack, tmp_path: Path) -> None:
    # Given a version that is known to do a row a second
    known = "insert into promise_ledgers (model, version, seen_rows, seen_s) values ('volume', '1', 3600, 3600)"
    asyncio.run(fetch(stack, known))
    write(tmp_path / "rows.jsonl", [{"instances": [[1.0, 2.0, 3.0]]}] * 100)
    submit = ("submit", "rows.jsonl", "--model", "volume", "--deadline")
    # When a hundred rows are to be done in half a minute, then the refusal tells a time, and soon after it is promised
    refusal = run(*submit, "30s", code=1, told=True)
    found = re.search(r"(\S+Z) is the earliest deadline that could be kept", refusal)
    assert found, refusal
    later = datetime.fromisoformat(found[1]) + timedelta(seconds=30)  # a command takes a while to start
    batch = json.loads(run(*submit, later.isoformat(), "--output", "out.jsonl", "--json"))
    assert batch["deadline"] == int(later.timestamp())
    assert len(lines_in(tmp_path / "out.jsonl")) == 100

    # And what was promised is free again once it has ended
    async def is_free() -> bool:
        return not await fetch(stack, "select from promises where id = $1", batch["id"])

    asyncio.run(eventually(is_free))


def test_lines_of_openai_go_up_as_they_are(run: Run, tmp_path: Path) -> None:
    url = "/v1/models/digits/jobs"
    lines = [{"custom_id": f"a{n}", "method": "POST", "url": url, "body": {"instances": [IMAGE]}} for n in range(3)]
    write(tmp_path / "openai.jsonl", lines)
    run("submit", "openai.jsonl", "--output", "out.jsonl")
    assert lines_in(tmp_path / "out.jsonl").keys() == {"a0", "a1", "a2"}


@pytest.mark.parametrize(
    ("text", "options", "why"),
    [
        ("", [], "has no lines"),
        ("no json\n", ["--model", "digits"], "not valid JSON"),
        ("{}\n", [], "name the model with --model"),
        ('{"custom_id":"a","url":"/v1/completions"}\n', [], "which no batch can"),
        ('{"custom_id":"a","url":"/v1/jobs"}\n', ["--model", "digits"], "give no --model"),
        ("{}\n", ["--model", "nothing"], "no model"),
    ],
)
def test_what_cannot_be_run_is_told_in_a_line(
    stack: Stack, tmp_path: Path, text: str, options: list[str], why: str
) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "batch", "submit", "a.jsonl", *options, "--gateway", stack.gateway_url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert why in done.stderr
    assert "Traceback" not in done.stderr
