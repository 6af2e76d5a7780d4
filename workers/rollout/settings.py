"""What a controller of rollouts is told by its environment."""

from runtime.process import ProcessSettings
from runtime.settings import KafkaSettings, PostgresSettings


class RolloutSettings(KafkaSettings, PostgresSettings, ProcessSettings):
    """It has none of its own."""
