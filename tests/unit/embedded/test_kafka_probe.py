"""The probe reads a broker's answer and nothing more."""

import struct

from penstock.embedded.kafka_probe import broker_count, metadata_request


def test_the_request_is_metadata_version_4_for_no_topic() -> None:
    assert metadata_request() == bytes.fromhex("0003 0004 00000001 ffff 00000000 00")


def test_a_broker_that_knows_itself_serves_clients() -> None:
    assert broker_count(struct.pack(">iii", 1, 0, 1) + b"the broker") == 1


def test_a_broker_that_has_not_joined_yet_does_not() -> None:
    assert broker_count(struct.pack(">iii", 1, 0, 0)) == 0


def test_whoever_speaks_another_protocol_does_not() -> None:
    assert broker_count(b"HTTP/1.1 400 Bad Request") == 0
    assert broker_count(b"") == 0
