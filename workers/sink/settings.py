"""What a sink is told by its environment."""

from pydantic import Field

from runtime.settings import (
    BlobSettings,
    KafkaSettings,
    PostgresSettings,
    ProcessSettings,
    RedisSettings,
    RetentionSettings,
)


class SinkSettings(KafkaSettings, PostgresSettings, RedisSettings, RetentionSettings, BlobSettings, ProcessSettings):
    sink_batch_records: int = Field(1000, ge=1, le=10_000, description="most records fetched, and written, at a time")
    sink_expiry_interval_s: float = Field(1.0, ge=0.1, le=60, description="between two looks for overdue jobs")
    sink_expiry_grace_s: float = Field(
        2.0, ge=0, le=600, description="how long after its deadline a job may still be ended by its worker"
    )
    sink_purge_interval_s: float = Field(
        60, ge=1, le=86_400, description="between two purges of what is kept no longer"
    )
