"""What `penstock migrate` is told by its environment. Apart from what it does: every role looks at all settings."""

from pydantic import Field

from runtime.settings import KafkaSettings, LogSettings, PostgresSettings


class MigrateSettings(KafkaSettings, PostgresSettings, LogSettings):
    topic_partitions: int = Field(
        12, ge=1, le=1000, description="of the requests and the results topic, when they are created"
    )
