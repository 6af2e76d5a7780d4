"""Settings from `PENSTOCK_*` environment variables. One frozen class a role, made of these parts."""

import ssl
import sys
from typing import Any, Literal, NoReturn, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.topics import Topics

PREFIX = "PENSTOCK_"


class Settings(BaseSettings):
    """Root of all settings: frozen, read from the environment; an empty variable counts as not set."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, extra="forbid")


class LogSettings(Settings):
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")
    log_format: Literal["console", "json"] = Field(
        "json", description="`json` is one object a line; `console` is for people"
    )


class HealthSettings(Settings):
    health_host: str = Field(
        "127.0.0.1",
        description="address that the health server listens on; `0.0.0.0` (as in our images) for probes from elsewhere",
    )
    health_port: int = Field(
        9464, ge=0, le=65535, description="serves /livez, /readyz and /metrics; 0 picks a free port"
    )


class MemorySettings(Settings):
    memory_budget_bytes: int = Field(
        512 * 1024 * 1024,
        ge=1024 * 1024,
        description="what the process may hold of what others send: heads, bodies, pixels, rows",
    )


class KafkaSettings(Settings):
    kafka_bootstrap_servers: str = Field("localhost:9092", description="one broker or several, separated by commas")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how brokers are spoken to"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="how we prove who we are, where the protocol is SASL"
    )
    kafka_sasl_username: str | None = Field(None, description="needed where the protocol is SASL")
    kafka_sasl_password: SecretStr | None = Field(None, description="needed where the protocol is SASL")
    kafka_ssl_cafile: str | None = Field(None, description="PEM file of trusted authorities; the system's if not set")
    kafka_replication_factor: int | None = Field(
        None, ge=1, le=10, description="of topics we create; if not set, 3 or as many as there are brokers"
    )
    kafka_session_timeout_s: float = Field(
        30, ge=1, le=300, description="how long a consumer may be silent before its group goes on without it"
    )
    topic_prefix: str = Field(
        "penstock",
        pattern=r"^[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)*$",
        max_length=64,
        description="what every topic and group begins with; sets installations on one cluster apart",
    )
    max_record_bytes: int = Field(4 * 1024 * 1024, ge=64 * 1024, description="largest record, headers and all")
    retry_delays_s: str = Field(
        "10,60,600",
        pattern=r"^\d+(\.\d+)?(,\d+(\.\d+)?){0,8}$",
        description="seconds until a job that failed for a reason that may pass is tried again, attempt by attempt",
    )

    @model_validator(mode="after")
    def _sasl_needs_a_name(self) -> "KafkaSettings":
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise ValueError("SASL needs PENSTOCK_KAFKA_SASL_USERNAME and PENSTOCK_KAFKA_SASL_PASSWORD")
        return self

    @property
    def topics(self) -> Topics:
        return Topics(self.topic_prefix)

    @property
    def retry_tiers_s(self) -> tuple[float, ...]:
        """The delay of each tier, in seconds."""
        return tuple(map(float, self.retry_delays_s.split(",")))

    def client_options(self) -> dict[str, Any]:
        """What every aiokafka client takes to reach the cluster."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap_servers,
            "security_protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.endswith("SSL"):
            options["ssl_context"] = ssl.create_default_context(cafile=self.kafka_ssl_cafile)
        if self.kafka_security_protocol.startswith("SASL") and self.kafka_sasl_password:
            options["sasl_mechanism"] = self.kafka_sasl_mechanism
            options["sasl_plain_username"] = self.kafka_sasl_username
            options["sasl_plain_password"] = self.kafka_sasl_password.get_secret_value()
        return options


class PostgresSettings(Settings):
    postgres_dsn: SecretStr = Field(
        SecretStr("postgresql://penstock@localhost:5432/penstock"), description="URL of the database"
    )


class RedisSettings(Settings):
    redis_url: SecretStr = Field(SecretStr("redis://localhost:6379/0"), description="URL of Redis or Valkey")


S = TypeVar("S", bound=Settings)


def load(settings: type[S]) -> S:
    """The settings from the environment; lists every mistake at once and exits with 2 if there are any."""
    try:
        return settings()
    except ValidationError as error:
        _refuse(error)


def mistakes(error: ValidationError) -> list[str]:
    """One line for each, with the name of the variable at fault."""
    lines = []
    for mistake in error.errors():
        field = "_".join(str(part) for part in mistake["loc"])
        name = f"{PREFIX}{field.upper()}: " if field else ""
        lines.append(f"{name}{mistake['msg'].removeprefix('Value error, ')}")
    return lines


def _refuse(error: ValidationError) -> NoReturn:
    for line in mistakes(error):
        print(line, file=sys.stderr)  # noqa: T201 - no logs yet
    raise SystemExit(2)
