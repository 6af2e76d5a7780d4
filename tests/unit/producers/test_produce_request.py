"""Our encoding of the produce request is aiokafka's, byte for byte, and our reading of the answer says the same."""

from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v3, ProduceResponse_v7
from hypothesis import given
from hypothesis import strategies as st

from producers.broker_sender import Produce, ProduceAnswer

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
numbers = st.integers(0, 2**31 - 1)
times = st.integers(-1, 2**63 - 1)
answers = st.tuples(numbers, st.integers(-1, 120), times, times, times)
VERSIONS = {0: (0, 12)}


def encoded(request: Any, versions: dict[int, tuple[int, int]] = VERSIONS) -> bytes:
    prepared = request.prepare(versions)
    header: bytes = prepared.build_request_header(correlation_id=7, client_id="ours-ü").encode()
    body: bytes = prepared.encode()
    return header + body


@given(st.lists(st.tuples(names, st.lists(st.tuples(numbers, st.binary(max_size=50)), max_size=4)), max_size=4))
def test_a_request_is_encoded_as_aiokafka_encodes_it(topics: list[tuple[str, list[tuple[int, bytes]]]]) -> None:
    theirs = ProduceRequest(transactional_id=None, required_acks=-1, timeout=10_000, topics=topics)
    assert encoded(Produce(-1, 10_000, topics)) == encoded(theirs)


@given(
    st.integers(0, 2**31 - 1),
    st.lists(
        st.tuples(names, st.lists(st.tuples(numbers, st.integers(-1, 120), times, times, times), max_size=4)),
        max_size=4,
    ),
)
def test_an_answer_is_read_as_aiokafka_reads_it(correlation_id: int, topics: list[Any]) -> None:
    sent = BytesIO(correlation_id.to_bytes(4, "big") + ProduceResponse_v7(topics, 0).encode())
    request = Produce(-1, 10_000, [])
    assert request.parse_response_header(sent).correlation_id == correlation_id
    assert ProduceAnswer.decode(sent).topics == topics


def test_for_an_older_broker_aiokafka_encodes_it() -> None:
    request = Produce(-1, 10_000, [("things", [(0, b"batch")])])
    assert isinstance(request.prepare({0: (0, 3)}), ProduceRequest_v3)


@pytest.mark.parametrize("cut", [1, 9, 20])
def test_an_answer_that_was_cut_off_is_an_error(cut: int) -> None:
    whole = ProduceResponse_v7([("things", [(0, 0, 1, -1, 0)])], 0).encode()
    with pytest.raises(Exception, match=r"unpack|iterative"):
        ProduceAnswer.decode(BytesIO(whole[:cut]))
