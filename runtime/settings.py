"""Settings from `PENSTOCK_*` environment variables. One frozen class a role, made of these parts."""

import base64
import re
import socket
import ssl
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.batches import DEFAULT_MOST_BYTES, DEFAULT_MOST_LINES
from schemas.jobs import DEFAULT_RETENTION_MAX_S, DEFAULT_RETENTION_S, LONGEST_RETENTION_S, MIN_RETENTION_S
from schemas.topics import Topics

PREFIX = "PENSTOCK_"
# A container keeps its name when it is started again, and no other has it.
HOSTNAME = "hostname"


class Settings(BaseSettings):
    """Root of all settings: frozen, read from the environment; an empty variable counts as not set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        env_ignore_empty=True,
        extra="forbid",
        # Most classes are only parts of others, or of another role: what checks values is made when one is read.
        defer_build=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _choices_in_any_case(cls, given: Any) -> Any:
        """`INFO` is `info`, and `sasl_ssl` is `SASL_SSL`."""
        if not isinstance(given, Mapping):
            return given
        return {name: _choice(cls, name, value) for name, value in given.items()}


def _choice(settings: type[Settings], name: str, value: Any) -> Any:
    """The choice that is meant, where the field has choices and the value is one of them but for its case."""
    field = settings.model_fields.get(name)
    if field is None or get_origin(field.annotation) is not Literal or not isinstance(value, str):
        return value
    return {choice.lower(): choice for choice in get_args(field.annotation)}.get(value.strip().lower(), value)


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


class ProcessSettings(LogSettings, HealthSettings):
    """What the frame of a role that serves nothing but its health is told (`runtime/process.py`)."""


class MemorySettings(Settings):
    memory_budget_bytes: ByteSize = Field(
        ByteSize(512 * 1024 * 1024),
        ge=1024 * 1024,
        description="what the process may hold of what others send, as `1GiB`: heads, bodies, pixels, rows, tokens",
    )


class PublicSettings(Settings):
    public_base_url: str = Field(
        "http://localhost:8080", description="where clients reach the gateway; begins every URL it hands out"
    )

    @field_validator("public_base_url")
    @classmethod
    def _absolute(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
            raise ValueError("must be an absolute http(s) URL without query, such as https://inference.example.com")
        return url.rstrip("/")


class RetentionSettings(Settings):
    retention_s: int = Field(
        DEFAULT_RETENTION_S,
        ge=MIN_RETENTION_S,
        le=LONGEST_RETENTION_S,
        description="how long an ended job is kept, where neither it nor its model says",
    )


class AdmissionSettings(Settings):
    retention_max_s: int = Field(
        DEFAULT_RETENTION_MAX_S,
        ge=MIN_RETENTION_S,
        le=LONGEST_RETENTION_S,
        description="how long after its end a client may ask for a job to be kept",
    )


class BlobSettings(Settings):
    blobs_url: str | None = Field(
        None,
        description="where blobs are kept: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or "
        "`az://container/prefix`, with the variables that the clients of these read (`AWS_ACCESS_KEY_ID`, "
        "`AWS_ENDPOINT_URL`, ...); if not set, there are no files and batches, and no input larger than a record",
    )


class ClaimSettings(BlobSettings):
    claim_max_bytes: ByteSize = Field(
        ByteSize(64 * 1024 * 1024),
        ge=64 * 1024,
        description="largest input that lies in the blob store, where it is too large for a record",
    )


class BatchSettings(BlobSettings):
    batch_max_lines: int = Field(DEFAULT_MOST_LINES, ge=1, le=2**31 - 1, description="lines that a batch may have")
    batch_max_file_bytes: int = Field(DEFAULT_MOST_BYTES, ge=1024, description="bytes that a file for batches may have")


class WebhookAddressSettings(Settings):
    webhook_allow_private: bool = Field(
        False,
        description="whether webhooks may go to private addresses and loopback, and over plain http: for development",
    )


_KEY_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_URLSAFE = str.maketrans("-_", "+/")
_KEYS_FORM = "must be ID:KEY,ID:KEY, each key 32 random bytes in base64 (`openssl rand -base64 32`), each id once"


class WebhookKeySettings(Settings):
    webhook_keys: SecretStr | None = Field(
        None,
        description="what secrets of webhooks are sealed with, as `ID:KEY,ID:KEY`, each key 32 bytes in base64: the"
        " first seals, and those behind it open what they have sealed",
    )

    @field_validator("webhook_keys")
    @classmethod
    def _is_key_ring(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None:
            _key_ring(keys.get_secret_value())
        return keys

    @property
    def webhook_key_ring(self) -> dict[str, bytes]:
        """The keys by their ids, the one that seals first; none where none is set."""
        return {} if self.webhook_keys is None else _key_ring(self.webhook_keys.get_secret_value())


def _key_ring(text: str) -> dict[str, bytes]:
    """Raises `ValueError` that shows the form, and nothing of the keys."""
    ring: dict[str, bytes] = {}
    for part in text.split(","):
        name, _, encoded = part.strip().partition(":")
        try:
            key = base64.b64decode(encoded.translate(_URLSAFE), validate=True)
        except ValueError:
            raise ValueError(_KEYS_FORM) from None
        if not _KEY_ID.fullmatch(name) or name in ring or len(key) != _KEY_BYTES:
            raise ValueError(_KEYS_FORM)
        ring[name] = key
    return ring


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
    kafka_group_instance_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="a name that this process alone has, and keeps when it is started again: after a kill it then goes"
        " on with its partitions at once (`group.instance.id`); `hostname`: that of the machine, as in our images",
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

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _servers(cls, servers: str) -> str:
        for server in servers.split(","):
            _refuse_bad_address(f"//{server.strip()}", "a broker is HOST:PORT")
        return servers

    @model_validator(mode="after")
    def _authorities_can_be_read(self) -> "KafkaSettings":
        _ = self._ssl_context
        return self

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext | None:
        """Read once: a file that goes away later troubles no client of a process that runs."""
        if not self.kafka_security_protocol.endswith("SSL"):
            return None
        try:
            return ssl.create_default_context(cafile=self.kafka_ssl_cafile)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"{PREFIX}KAFKA_SSL_CAFILE: {self.kafka_ssl_cafile}: {error.strerror or error}") from error

    @model_validator(mode="after")
    def _sasl_needs_a_name(self) -> "KafkaSettings":
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise ValueError("SASL needs PENSTOCK_KAFKA_SASL_USERNAME and PENSTOCK_KAFKA_SASL_PASSWORD")
        return self

    @property
    def group_instance_id(self) -> str | None:
        """What Kafka knows this process by in each of its groups, if it is to know it again."""
        return socket.gethostname() if self.kafka_group_instance_id == HOSTNAME else self.kafka_group_instance_id

    @property
    def topics(self) -> Topics:
        return Topics(self.topic_prefix)

    @property
    def retry_tiers_s(self) -> tuple[float, ...]:
        """The delay of each tier, in seconds."""
        return tuple(map(float, self.retry_delays_s.split(",")))

    def client_options(self) -> dict[str, Any]:
        """What an aiokafka client takes to reach the cluster. Consumers take `consumer_options`."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap_servers,
            "security_protocol": self.kafka_security_protocol,
        }
        if self._ssl_context is not None:
            options["ssl_context"] = self._ssl_context
        if self.kafka_security_protocol.startswith("SASL") and self.kafka_sasl_password:
            options["sasl_mechanism"] = self.kafka_sasl_mechanism
            options["sasl_plain_username"] = self.kafka_sasl_username
            options["sasl_plain_password"] = self.kafka_sasl_password.get_secret_value()
        return options

    def consumer_options(self) -> dict[str, Any]:
        """What every aiokafka consumer takes.

        Others write to our topics, in transactions as well: what they took back, or have not yet committed, is no
        record. Offsets are committed by us alone.
        """
        return {
            **self.client_options(),
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
        }


class PostgresSettings(Settings):
    postgres_dsn: SecretStr = Field(
        SecretStr("postgresql://penstock@localhost:5432/penstock"), description="URL of the database"
    )

    @field_validator("postgres_dsn")
    @classmethod
    def _is_postgres_url(cls, dsn: SecretStr) -> SecretStr:
        """An address that no driver would take; one where nobody answers may be right."""
        return _url(dsn, {"postgresql", "postgres"}, "postgresql://USER:PASSWORD@HOST:PORT/DATABASE")


class RedisSettings(Settings):
    redis_url: SecretStr = Field(SecretStr("redis://localhost:6379/0"), description="URL of Redis or Valkey")

    @field_validator("redis_url")
    @classmethod
    def _is_redis_url(cls, url: SecretStr) -> SecretStr:
        return _url(url, {"redis", "rediss", "unix"}, "redis://:PASSWORD@HOST:PORT/DATABASE")


def _url(url: SecretStr, schemes: set[str], form: str) -> SecretStr:
    """The URL, or `ValueError` that shows its form and nothing of it: it may hold a password."""
    text = url.get_secret_value()
    if text.partition("://")[0] not in schemes or "://" not in text:
        raise ValueError(f"must be {form}")
    for host in urlsplit(text).netloc.rpartition("@")[2].split(","):  # Postgres may have several
        _refuse_bad_address(f"//{host}", f"must be {form}, with a password percent-encoded", host_needed=False)
    return url


def _refuse_bad_address(netloc: str, rule: str, *, host_needed: bool = True) -> None:
    try:
        parts = urlsplit(netloc)
        complete = parts.port != 0 and bool(parts.hostname or not host_needed) and not parts.path
    except ValueError:
        complete = False
    if not complete:
        raise ValueError(rule)


S = TypeVar("S", bound=Settings)


def load(settings: type[S], environ: Mapping[str, str] | None = None) -> S:
    """The settings from `environ`, else from our own environment; lists every mistake at once and exits with 2 if there
    are any."""
    try:
        return settings() if environ is None else settings_in(settings, environ)
    except ValidationError as error:
        _refuse(error)


def settings_in(settings: type[S], environ: Mapping[str, str]) -> S:
    """What a process with this environment would read. Raises `ValidationError`."""
    # Defaults are given as well: what is not given is looked for in our own environment.
    defaults = {name: field.get_default() for name, field in settings.model_fields.items() if not field.is_required()}
    given = {name: environ.get(f"{PREFIX}{name.upper()}") for name in settings.model_fields}
    return settings.model_validate(defaults | {name: value for name, value in given.items() if value})


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
