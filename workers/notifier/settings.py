"""What a notifier is told by its environment."""

from pydantic import Field

from runtime.settings import (
    MemorySettings,
    PostgresSettings,
    ProcessSettings,
    PublicSettings,
    RetentionSettings,
    WebhookAddressSettings,
    WebhookKeySettings,
)


class NotifierSettings(
    PostgresSettings,
    PublicSettings,
    RetentionSettings,
    WebhookAddressSettings,
    WebhookKeySettings,
    MemorySettings,
    ProcessSettings,
):
    notifier_concurrency: int = Field(
        1000, ge=1, le=20_000, description="attempts at a time, or as many as the process may open files for"
    )
