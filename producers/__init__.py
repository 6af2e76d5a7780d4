"""The only code that publishes to Kafka."""
