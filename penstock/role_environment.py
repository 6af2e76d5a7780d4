"""What `up` tells its roles by their environment."""

import hashlib
import socket
from collections.abc import Mapping
from pathlib import Path

from penstock.embedded.data_dir import DataDir
from penstock.embedded.stack import EmbeddedStack
from runtime.settings import PREFIX

# Enough for a few processes of each role on one machine.
PARTITIONS = "4"
# Only where the caller says nothing else.
DEFAULTS = {
    "PENSTOCK_LOG_FORMAT": "console",
    # Nobody stands behind a laptop's gateway: it need not wait long for slow readers.
    "PENSTOCK_GATEWAY_DRAIN_TIMEOUT_S": "5",
    "PENSTOCK_TOPIC_PARTITIONS": PARTITIONS,
    "PENSTOCK_LANE_PARTITIONS": PARTITIONS,
    # No network stands between a role and its broker: who is silent this long has died, and its successor waits.
    "PENSTOCK_KAFKA_SESSION_TIMEOUT_S": "10",
}


def role_environment(
    environ: Mapping[str, str],
    services: EmbeddedStack,
    *,
    models: Path,
    gateway_host: str,
    gateway_port: int,
    public_url: str,
) -> dict[str, str]:
    """The caller's environment, our defaults where it is silent, and over both where the services are."""
    defaults = DEFAULTS | {
        "PENSTOCK_PUBLIC_BASE_URL": public_url,
        "PENSTOCK_WEBHOOK_KEYS": webhook_keys(services.data_dir),
        "PENSTOCK_BLOBS_URL": f"file://{services.data_dir.path.absolute()}/blobs",
    }
    given = {name: value for name, value in environ.items() if value}
    return (
        defaults
        | given
        | {
            "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": services.kafka_bootstrap_servers,
            "PENSTOCK_POSTGRES_DSN": services.postgres_dsn,
            "PENSTOCK_REDIS_URL": services.redis_url,
            "PENSTOCK_GATEWAY_HOST": gateway_host,
            "PENSTOCK_GATEWAY_PORT": str(gateway_port),
            "PENSTOCK_MODEL_REPOSITORY": str(models.absolute()),
        }
    )


def webhook_keys(data_dir: DataDir) -> str:
    """One key, made once and kept with the data: what it has sealed is there in the next run, too."""
    return f"up:{data_dir.secret('webhooks', 32)}="


# Of one process each: a further one has its own.
OF_ONE_PROCESS = frozenset(
    f"PENSTOCK_{name}"
    for name in ("GATEWAY_HOST", "GATEWAY_PORT", "GATEWAY_SHARED_PORT", "HEALTH_HOST", "KAFKA_GROUP_INSTANCE_ID")
)


def shared_environment(env: Mapping[str, str], gateway_url: str) -> dict[str, str]:
    """Of what our roles are told: what a further role on this machine, or a command, needs as well."""
    ours = {name: value for name, value in env.items() if name.startswith(PREFIX) and name not in OF_ONE_PROCESS}
    return ours | {"PENSTOCK_GATEWAY_URL": gateway_url, "PENSTOCK_HEALTH_PORT": "0"}


def group_instance_id(data_dir: Path, role: str) -> str:
    """A name that only one process has, also where Kafka is shared: who holds the data directory starts one of each."""
    place = hashlib.sha256(f"{socket.gethostname()}:{data_dir.absolute()}".encode()).hexdigest()[:12]
    return f"{role}-{place}"
