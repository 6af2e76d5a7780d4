"""What a controller of rollouts is told by its environment."""

from runtime.settings import KafkaSettings, PostgresSettings, ProcessSettings


class RolloutSettings(KafkaSettings, PostgresSettings, ProcessSettings):
    """It has none of its own."""
