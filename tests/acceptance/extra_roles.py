"""Roles beside those of a stack, on its services."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from penstock.embedded.ports import LOOPBACK, choose
from penstock.part import Part
from penstock.role import Role
from penstock.role_environment import role_environment
from penstock.stack import Stack
from tests.acceptance.role_logs import LOGS


@asynccontextmanager
async def extra_role(
    stack: Stack, command: str, name: str, *, models: Path, environ: Mapping[str, str], killed: bool = False
) -> AsyncIterator[str]:
    """A role of its own, ready while the block lasts; yields the base URL of its health, for a gateway also its API.

    At the end of the block it is stopped, or `killed`."""
    (port,) = choose(1)
    url = f"http://{LOOPBACK}:{port}"
    own = {"PENSTOCK_HEALTH_HOST": LOOPBACK, "PENSTOCK_HEALTH_PORT": str(port)}
    env = role_environment(
        environ, stack.services, models=models, gateway_host=LOOPBACK, gateway_port=port, public_url=url
    )
    role = Role(command, name=name, health_port=port, env={**env, **own}, on_line=LOGS.hear)
    part = Part(role, stack.services.reaper)
    await part.start()
    try:
        yield url
    finally:
        if killed:
            part.kill()
        await part.stop()


async def left_alone(stack: Stack, models: Path, environ: Mapping[str, str]) -> None:
    """Have the repository's models announced by a worker, and end it."""
    async with extra_role(stack, "worker", "passing", models=models, environ=environ):
        pass
