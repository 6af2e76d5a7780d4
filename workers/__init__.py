"""Everything that consumes from Kafka: inference, router, sink."""
