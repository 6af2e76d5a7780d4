"""Asking a Penstock server from Python: `Client`, and `AsyncClient` for asyncio.

    from penstock.client import Client

    with Client("http://localhost:8080") as client:
        print(client.run("iris", [[5.1, 3.5, 1.4, 0.2]]).predictions)

What goes wrong is raised as one of `schemas.errors`: the class says what, `error.code` is stable, `error.param` names
the field at fault.
"""

from penstock.client.asynchronous import AsyncClient
from penstock.client.jobs import Event, Job, Options, Result
from penstock.client.mapping import Mapped
from penstock.client.synchronous import Client

__all__ = ["AsyncClient", "Client", "Event", "Job", "Mapped", "Options", "Result"]
