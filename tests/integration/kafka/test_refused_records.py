"""What a broker refuses for one record's sake costs no other record of its batch."""

from producers.kafka_publisher import KafkaPublisher
from producers.topics import control_topic, ensure_topics
from runtime.settings import KafkaSettings
from schemas.errors import QueueUnavailable
from schemas.records import OutRecord


async def test_of_a_compacted_topic_only_the_record_without_a_key_is_refused(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher
) -> None:
    topic = f"{kafka_settings.topic_prefix}.compacted.v1"
    await ensure_topics(kafka_settings, [control_topic(kafka_settings, topic)])
    keys = [b"1", None, b"2"]

    outcomes = await publisher.publish_all([OutRecord(topic, key, b"value", []) for key in keys])

    assert [type(outcome) for outcome in outcomes] == [type(None), QueueUnavailable, type(None)]
    assert "InvalidRecord" in str(outcomes[1])
    await publisher.publish(OutRecord(topic, b"3", b"value", []))
