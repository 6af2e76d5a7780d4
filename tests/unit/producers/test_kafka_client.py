"""The client outlives errors that aiokafka expects nowhere."""

import asyncio

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError

from producers.kafka_client import KafkaClient
from tests.waiting import SOON_S


async def test_an_attempt_that_fails_in_an_odd_way_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0

    async def fail_once(*_: object) -> bool:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise RuntimeError("the handler is closed")
        return True

    monkeypatch.setattr(AIOKafkaClient, "_metadata_update", fail_once)
    client = KafkaClient()
    renewing = client._sync_task = asyncio.create_task(client._md_synchronizer())
    async with asyncio.timeout(SOON_S):
        assert [await client.force_metadata_update(), await client.force_metadata_update()] == [False, True]
    assert not renewing.done()
    await client.close()


async def test_a_write_to_a_connection_just_reset_is_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def closed(*_: object) -> None:
        raise RuntimeError("the handler is closed")

    monkeypatch.setattr(AIOKafkaClient, "send", closed)
    with pytest.raises(KafkaConnectionError):
        await KafkaClient().send(1, object())
