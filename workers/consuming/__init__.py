"""The reading end of Kafka: fetch, low-water mark, commit, drain. Shared by router, sink and inference."""
