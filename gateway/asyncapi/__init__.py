"""The AsyncAPI document: what other programs write to Kafka and read from it."""
