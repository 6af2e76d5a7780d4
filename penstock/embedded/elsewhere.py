"""Which services there are, and those that somebody else runs, so that we do not."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Service(StrEnum):
    KAFKA = "Kafka"
    POSTGRES = "Postgres"
    VALKEY = "Valkey"


ALL_SERVICES = frozenset(Service)


@dataclass(frozen=True)
class Elsewhere:
    """The address of each service that is not to be embedded; None for those that are."""

    kafka_bootstrap_servers: str | None = None
    postgres_dsn: str | None = None
    redis_url: str | None = None

    @property
    def services(self) -> frozenset[Service]:
        """Those with an address."""
        addresses = {
            Service.KAFKA: self.kafka_bootstrap_servers,
            Service.POSTGRES: self.postgres_dsn,
            Service.VALKEY: self.redis_url,
        }
        return frozenset(service for service, address in addresses.items() if address is not None)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """An empty variable counts as not set, as it does for every role."""
        return cls(
            kafka_bootstrap_servers=environ.get("PENSTOCK_KAFKA_BOOTSTRAP_SERVERS") or None,
            postgres_dsn=environ.get("PENSTOCK_POSTGRES_DSN") or None,
            redis_url=environ.get("PENSTOCK_REDIS_URL") or None,
        )
