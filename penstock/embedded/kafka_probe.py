"""Asks a broker whether it serves clients, in the fewest bytes of Kafka's protocol that tell."""

import asyncio
import struct

METADATA = 3  # api key; version 4 is understood by every broker from 0.11 to 4
VERSION = 4
CORRELATION_ID = 1
TIMEOUT_S = 5.0


async def serves_clients(host: str, port: int) -> bool:
    """Whether the broker answers a metadata request and counts itself among the brokers that clients may use."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            answer = await ask(host, port, metadata_request())
    except (OSError, EOFError, TimeoutError):
        return False
    return broker_count(answer) > 0


async def ask(host: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(struct.pack(">i", len(request)) + request)
        (length,) = struct.unpack(">i", await reader.readexactly(4))
        return await reader.readexactly(length)
    finally:
        writer.close()


def metadata_request() -> bytes:
    """Header (api key, version, correlation id, no client id), no topics, no creation of topics."""
    return struct.pack(">hhihi?", METADATA, VERSION, CORRELATION_ID, -1, 0, False)


def broker_count(answer: bytes) -> int:
    """The answer begins with correlation id, throttle time and the length of the list of brokers."""
    if len(answer) < 12:
        return 0
    correlation_id, _, brokers = struct.unpack_from(">iii", answer)
    return brokers if correlation_id == CORRELATION_ID else 0
