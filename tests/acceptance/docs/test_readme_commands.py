"""The commands that the README shows, run as they stand against a running stack."""

import asyncio
import shlex
import sys
from pathlib import Path

import pytest

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance.kcat import kcat_command
from tests.unit.docs.snippets import Snippet, snippets_of

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0


def adapted(commands: str, stack: Stack, topics: Topics) -> str:
    """The same commands, for the addresses and the prefix of this stack."""
    return (
        commands.replace("http://localhost:8080", stack.gateway_url)
        .replace("penstock.requests.v1", topics.requests)
        .replace("penstock.results.v1", topics.results)
        .replace("kcat ", f"{shlex.join(kcat_command())} ")
        .replace(".venv/bin/penstock", f"{shlex.quote(sys.executable)} -m penstock")
    )


@pytest.mark.parametrize("snippet", snippets_of(ROOT / "README.md"), ids=lambda snippet: snippet.title)
async def test_a_command_of_the_readme_does_what_it_says(
    snippet: Snippet, stack: Stack, topics: Topics, tmp_path: Path
) -> None:
    assert snippet.needs in (None, "kcat"), "nothing else is to be had everywhere"
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    shell = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", adapted(snippet.commands, stack, topics)),
        cwd=tmp_path,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "KAFKA": stack.kafka_bootstrap_servers,
            "PENSTOCK_SUBMIT_TO": stack.gateway_url,
            "PENSTOCK_TOPIC_PREFIX": topics.prefix,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE_S):
        said, _ = await shell.communicate()

    assert shell.returncode == 0, said.decode()
    assert snippet.expects in said.decode()
