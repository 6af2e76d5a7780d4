"""The gateway's settings."""

from pydantic import Field, model_validator

from runtime.budget import READ_FACTOR
from runtime.http_limits import CONNECTION_BYTES
from runtime.settings import (
    AdmissionSettings,
    BatchSettings,
    ClaimSettings,
    KafkaSettings,
    LogSettings,
    MemorySettings,
    PostgresSettings,
    PublicSettings,
    RedisSettings,
    RetentionSettings,
    WebhookAddressSettings,
    WebhookKeySettings,
)
from schemas.jobs import DEFAULT_TIMEOUT_S
from schemas.names import MODEL_NAME

DAY_S = 24 * 60 * 60


class GatewaySettings(
    KafkaSettings,
    PostgresSettings,
    RedisSettings,
    MemorySettings,
    AdmissionSettings,
    RetentionSettings,
    PublicSettings,
    WebhookAddressSettings,
    WebhookKeySettings,
    BatchSettings,
    ClaimSettings,
    LogSettings,
):
    # Whoever reaches the API may use all of it. To serve other machines is a decision; our images have made it.
    gateway_host: str = Field(
        "127.0.0.1", description="address that the API listens on; `0.0.0.0` (as in our images) to serve other machines"
    )
    gateway_port: int = Field(8080, ge=0, le=65535, description="port of the API; 0 picks a free one")
    gateway_shared_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="port that several gateways of one machine listen on together, each beside its own; "
        "the system spreads connections over them (Linux)",
    )
    gateway_max_body_bytes: int = Field(
        4 * 1024 * 1024,
        ge=1024,
        description="largest request body, as sent and once decompressed; with a blob store raw tensors may have "
        "PENSTOCK_CLAIM_MAX_BYTES",
    )
    gateway_max_connections: int = Field(
        4096,
        ge=16,
        description="clients' connections at a time, or as many as the process may open files for; "
        "beyond it the one that has been silent for the longest is closed",
    )
    gateway_head_timeout_s: float = Field(
        10, gt=0, le=600, description="how long a client may take for its first byte, and for the head of a request"
    )
    # Longer than the idle limits of common proxies, so that it is they who close, never we under a request of theirs.
    gateway_idle_timeout_s: float = Field(
        75, gt=0, le=3600, description="how long a connection may be idle between two requests"
    )
    gateway_min_bytes_per_s: int = Field(
        4096,
        ge=1,
        description="how fast bodies are sent and answers read at least, after 10 s in which they need not be",
    )
    gateway_max_in_flight: int = Field(
        4096, ge=1, description="submits being admitted at a time; beyond it clients are told to try again"
    )
    gateway_max_waiters: int = Field(
        20_000,
        ge=0,
        description="requests that may wait for a job at a time, at most three quarters of all connections; "
        "others are answered at once",
    )
    gateway_max_uploads: int = Field(
        4,
        ge=1,
        le=64,
        description="files uploaded at a time, half of them of one tenant; each takes some 15 MB of memory; "
        "others are told to wait",
    )
    gateway_max_lane_depth: int = Field(
        100_000, ge=1, description="records a lane may hold before its submits are answered 429"
    )
    gateway_default_timeout_s: float = Field(
        DEFAULT_TIMEOUT_S, ge=1, le=7 * DAY_S, description="a job's time where it names none"
    )
    gateway_sync_timeout_s: float = Field(
        60,
        ge=1,
        le=600,
        description="a job's time where its caller waits for it by another protocol than ours, such as `/v2`; "
        "then it is canceled",
    )
    default_model: str | None = Field(
        None,
        description="model that `/predict` and its kin ask; if not set, the only one that there is",
        pattern=f"^{MODEL_NAME.pattern}$",
    )
    gateway_max_timeout_s: float = Field(7 * DAY_S, ge=1, le=7 * DAY_S, description="longest time a job may ask for")
    gateway_drain_timeout_s: int = Field(8, ge=1, le=600, description="how long running requests may take at a stop")

    @model_validator(mode="after")
    def _one_body_fits(self) -> "GatewaySettings":
        # As sent, as unpacked, and while it is checked.
        body_bytes = (2 + READ_FACTOR) * self.gateway_max_body_bytes
        if self.blobs_url is not None:  # raw tensors: as sent, as unpacked, and as they travel
            body_bytes = max(body_bytes, 3 * self.claim_max_bytes)
        connections_bytes = CONNECTION_BYTES * self.gateway_max_connections
        if self.memory_budget_bytes < body_bytes + connections_bytes:
            raise ValueError(
                f"PENSTOCK_MEMORY_BUDGET_BYTES is {self.memory_budget_bytes}; PENSTOCK_GATEWAY_MAX_CONNECTIONS need "
                f"{connections_bytes}, and a body of PENSTOCK_GATEWAY_MAX_BODY_BYTES, or of PENSTOCK_CLAIM_MAX_BYTES, "
                f"{body_bytes}"
            )
        if self.gateway_default_timeout_s > self.gateway_max_timeout_s:
            raise ValueError("PENSTOCK_GATEWAY_DEFAULT_TIMEOUT_S is above PENSTOCK_GATEWAY_MAX_TIMEOUT_S")
        return self
