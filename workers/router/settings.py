"""What a router is told by its environment."""

from typing import Final

from pydantic import Field

from runtime.settings import (
    AdmissionSettings,
    ClaimSettings,
    KafkaSettings,
    MemorySettings,
    PostgresSettings,
    ProcessSettings,
    RedisSettings,
    WebhookAddressSettings,
)
from schemas.jobs import DEFAULT_TIMEOUT_S
from workers.router.submission import Limits

WEEK_S: Final = 7 * 24 * 3600


class RouterSettings(
    KafkaSettings,
    PostgresSettings,
    RedisSettings,
    MemorySettings,
    AdmissionSettings,
    ClaimSettings,
    WebhookAddressSettings,
    ProcessSettings,
):
    router_default_timeout_s: float = Field(
        DEFAULT_TIMEOUT_S, ge=1, le=WEEK_S, description="a job's time where it names none"
    )
    router_max_timeout_s: float = Field(WEEK_S, ge=1, le=WEEK_S, description="longest time a job may ask for")
    router_batch_records: int = Field(500, ge=1, le=10_000, description="most records fetched at a time")

    router_lane_patience_s: float = Field(
        10, ge=0, le=600, description="how long a job waits for a lane that does not exist before it fails"
    )

    @property
    def limits(self) -> Limits:
        return Limits(
            self.router_default_timeout_s,
            self.router_max_timeout_s,
            self.retention_max_s,
            self.max_record_bytes if self.blobs_url is None else max(self.max_record_bytes, self.claim_max_bytes),
            self.webhook_allow_private,
        )
