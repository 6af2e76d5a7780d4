"""What a record takes in a batch, and which partition its key means."""

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import example, given
from hypothesis import strategies as st

from producers.kafka_publisher import partition_of, record_bytes
from schemas.records import OutRecord

texts = st.text(st.characters(codec="utf-8"), max_size=40)
headers = st.lists(st.tuples(texts, st.binary(max_size=300)), max_size=20)


@example(key=None, value=None, headers=[("𐀀" * 20, b""), ("𐀀" * 19, b"")])
@given(key=st.none() | st.binary(max_size=200), value=st.none() | st.binary(max_size=5000), headers=headers)
def test_the_size_told_is_never_below_the_size_in_the_batch(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10**6,
    )
    before = builder.size()
    builder.append(0, timestamp=0, key=key, value=value, headers=headers)

    assert builder.size() - before <= record_bytes(OutRecord("things", key, value, headers))


@given(key=st.binary(max_size=200), partitions=st.integers(1, 1000))
def test_a_key_has_one_partition_of_those_there_are(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_partitions_are_those_of_librdkafkas_default_partitioner() -> None:
    """CRC-32 of the key, by the check value of the algorithm's catalog entry; so kcat's records lie beside ours."""
    assert partition_of(b"123456789", 2**32) == 0xCBF43926
