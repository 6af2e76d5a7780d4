"""The commands that the README shows, run as they stand against a running stack."""

import asyncio
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance.kcat import kcat_command
from tests.acceptance.opening import heard, opened
from tests.unit.docs.snippets import Snippet, snippets_of

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def stack(portal: BlockingPortal, models: Path, environ: dict[str, str]) -> Iterator[Stack]:
    """As a reader has it: nothing was done to it before."""
    whole = heard(models=models, environ=environ)
    with portal.wrap_async_context_manager(opened(whole)):
        yield whole


def adapted(commands: str, stack: Stack, topics: Topics) -> str:
    """The same commands, for the addresses and the prefix of this stack."""
    return (
        commands.replace("http://localhost:8080", stack.gateway_url)
        .replace("penstock.requests.v1", topics.requests)
        .replace("penstock.results.v1", topics.results)
        .replace("kcat ", f"{shlex.join(kcat_command())} ")
    )


def write_penstock(folder: Path, stack: Stack) -> None:
    """The command `penstock` in the folder, of this checkout. Its `env` means the stack of the tests."""
    python, data_dir = shlex.quote(sys.executable), shlex.quote(str(stack.services.data_dir.path))
    folder.mkdir(parents=True)
    (folder / "penstock").write_text(
        f'#!/bin/sh\n[ "$1" = env ] && set -- env --data-dir {data_dir}\nexec {python} -m penstock "$@"\n'
    )
    (folder / "penstock").chmod(0o755)


@pytest.mark.parametrize("snippet", snippets_of(ROOT / "README.md"), ids=lambda snippet: snippet.title)
async def test_a_command_of_the_readme_does_what_it_says(
    snippet: Snippet, stack: Stack, topics: Topics, tmp_path: Path
) -> None:
    assert snippet.needs in (None, "kcat"), "nothing else is to be had everywhere"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    write_penstock(tmp_path / ".venv" / "bin", stack)

    shell = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", adapted(snippet.commands, stack, topics)),
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
            "PENSTOCK_GATEWAY_URL": stack.gateway_url,
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
