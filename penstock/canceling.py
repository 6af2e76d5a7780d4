"""Canceling several of a kind."""

from collections.abc import Collection, Sequence

import click
import msgspec

from penstock.asking import ask, send
from penstock.gateway_client import GatewayClient
from penstock.running import Found
from penstock.showing import show_json


def cancel_each(
    found: Found,
    kind: str,
    ids: Sequence[str],
    shape: type[msgspec.Struct],
    canceled: Collection[str],
    *,
    as_json: bool,
) -> None:
    """Cancel `/v1/{kind}/{id}` one after the other, and show what became of each. Exits with 1 if one has a status that
    is not among `canceled` then."""

    async def cancel_all(gateway: GatewayClient) -> bool:
        every = True
        for each in ids:
            document = await send(gateway, "POST", f"/v1/{kind}/{each}/cancel", shape)
            if as_json:
                show_json(document)
            else:
                click.echo(f"{each} {document['status']}")
            every &= document["status"] in canceled
        return every

    if not ask(found, cancel_all):
        raise SystemExit(1)
