"""Whether all of a stack is there and says that it is ready."""

import httpx

from penstock.role import Role
from penstock.stack import Stack
from tests.acceptance.client import client_of


async def is_whole(stack: Stack) -> bool:
    assert not [part.name for part in stack.services.parts if not part.running]
    for name, part in stack.roles.items():
        assert part.running, name
        assert isinstance(part.program, Role)
        async with client_of(f"http://127.0.0.1:{part.program.health_port}", timeout_s=5) as client:
            try:
                answer = await client.get("/readyz")
            except httpx.TransportError as error:
                raise AssertionError(f"{name}: {error!r}") from error
        assert answer.status_code == 200, f"{name}: {answer.text}"
    return True
