"""What a run is to do, once the options are checked."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from producers.bulk.lines import LineDefaults
from schemas.topics import LaneClass


@dataclass(frozen=True)
class Plan:
    """`file` and `output` are paths, or `-`; `to` is the URL of a gateway, or `kafka://` and brokers."""

    file: str
    to: str
    model: str | None
    version: str | None
    lane: LaneClass
    output: str
    concurrency: int
    timeout_s: float | None
    wait: bool
    run_id: str

    @property
    def defaults(self) -> LineDefaults:
        return LineDefaults(self.model, self.version, self.lane, self.timeout_s)

    @property
    def brokers(self) -> str | None:
        """Kafka's bootstrap servers, or None where a gateway is meant."""
        parts = urlsplit(self.to)
        return parts.netloc if parts.scheme == "kafka" else None
