"""The configuration of a broker that is alone on a laptop and speaks to nobody else."""

from collections.abc import Mapping
from pathlib import Path

from penstock.embedded.ports import LOOPBACK

NODE_ID = 1


def server_properties(log_dir: Path, port: int, controller_port: int) -> dict[str, str]:
    """Broker and controller in one process; what is kept small is only what waits for a cluster or a big machine."""
    return {
        "process.roles": "broker,controller",
        "node.id": str(NODE_ID),
        "controller.quorum.voters": f"{NODE_ID}@{LOOPBACK}:{controller_port}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(log_dir),
        "auto.create.topics.enable": "false",
        # There is one replica of everything, and there are few groups.
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # A group's first member need not wait for others: they are there, or come when they come.
        "group.initial.rebalance.delay.ms": "0",
        # A broker that was killed may register again when the session of its former life is over.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "num.recovery.threads.per.data.dir": "2",
        "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),  # of 128 MiB: it is taken from the heap at start
        "metadata.max.idle.interval.ms": "0",  # of 500: an idle stack leaves the disk alone
    }


def meta_properties(cluster_id: str, directory_id: str) -> dict[str, str]:
    """What marks a log directory as formatted (KIP-631, KIP-858)."""
    return {"version": "1", "cluster.id": cluster_id, "node.id": str(NODE_ID), "directory.id": directory_id}


def render(properties: Mapping[str, str]) -> str:
    """A Java properties file; pure ASCII, whatever the paths."""
    return "".join(f"{name}={escape(value)}\n" for name, value in properties.items())


def escape(value: str) -> str:
    def one(character: str) -> str:
        if character in "\\\n\r\t\f" or not character.isascii():
            units = character.encode("utf-16-be")
            return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
        return character

    escaped = "".join(one(character) for character in value)
    return f"\\{escaped}" if escaped.startswith(" ") else escaped
