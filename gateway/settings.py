"""The gateway's settings."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from runtime.settings import KafkaSettings, LogSettings, PostgresSettings, RedisSettings
from schemas.jobs import DEFAULT_TIMEOUT_S

DAY_S = 24 * 60 * 60


class GatewaySettings(KafkaSettings, PostgresSettings, RedisSettings, LogSettings):
    # It serves other machines.
    gateway_host: str = Field("0.0.0.0", description="address that the API listens on")  # noqa: S104
    gateway_port: int = Field(8080, ge=0, le=65535, description="port of the API; 0 picks a free one")
    public_base_url: str = Field(
        "http://localhost:8080", description="where clients reach the gateway; begins every URL it hands out"
    )
    gateway_max_body_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, description="largest request body, as sent and once decompressed"
    )
    gateway_max_in_flight: int = Field(
        4096, ge=1, description="submits being admitted at a time; beyond it clients are told to try again"
    )
    gateway_max_in_flight_bytes: int = Field(
        512 * 1024 * 1024, ge=1024, description="what the bodies of these submits may take together"
    )
    gateway_max_waiters: int = Field(
        20_000, ge=0, description="requests that may wait for a job at a time; others are answered at once"
    )
    gateway_max_lane_depth: int = Field(
        100_000, ge=1, description="records a lane may hold before its submits are answered 429"
    )
    gateway_default_timeout_s: float = Field(
        DEFAULT_TIMEOUT_S, ge=1, le=7 * DAY_S, description="a job's time where it names none"
    )
    gateway_max_timeout_s: float = Field(7 * DAY_S, ge=1, le=7 * DAY_S, description="longest time a job may ask for")
    gateway_drain_timeout_s: int = Field(8, ge=1, le=600, description="how long running requests may take at a stop")

    @model_validator(mode="after")
    def _one_body_fits(self) -> "GatewaySettings":
        if self.gateway_max_in_flight_bytes < self.gateway_max_body_bytes:
            raise ValueError("PENSTOCK_GATEWAY_MAX_IN_FLIGHT_BYTES is below PENSTOCK_GATEWAY_MAX_BODY_BYTES")
        if self.gateway_default_timeout_s > self.gateway_max_timeout_s:
            raise ValueError("PENSTOCK_GATEWAY_DEFAULT_TIMEOUT_S is above PENSTOCK_GATEWAY_MAX_TIMEOUT_S")
        return self

    @field_validator("public_base_url")
    @classmethod
    def _absolute(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
            raise ValueError("must be an absolute http(s) URL without query, such as https://inference.example.com")
        return url.rstrip("/")
