"""What a feeder is told by its environment."""

from pydantic import Field

from runtime.settings import BatchSettings, KafkaSettings, PostgresSettings, ProcessSettings, RedisSettings


class FeederSettings(KafkaSettings, PostgresSettings, RedisSettings, BatchSettings, ProcessSettings):
    feeder_window_s: float = Field(
        10, gt=0, le=3600, description="seconds of work that a tenant may have in the lane of a version at once"
    )
