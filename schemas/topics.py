"""Topic and consumer group names. `<prefix>.<dataset>.v1`, dots only; `dlq.` before a dead-letter topic."""

from enum import StrEnum

import msgspec


class LaneClass(StrEnum):
    """Which of a model version's two lanes: `live` is served first, `bulk` fills what is left."""

    LIVE = "live"
    BULK = "bulk"


class Lane(msgspec.Struct, frozen=True, order=True):
    """The queue of one model version and one class."""

    model: str
    version: str
    cls: LaneClass

    def __str__(self) -> str:
        return f"{self.model}.{self.version}.{self.cls}"


class Topics(msgspec.Struct, frozen=True):
    """Every topic and group of one installation."""

    prefix: str = "penstock"

    @property
    def requests(self) -> str:
        """Jobs whose version is still open: where direct producers write."""
        return f"{self.prefix}.requests.v1"

    @property
    def results(self) -> str:
        """Terminal records, keyed by job id."""
        return f"{self.prefix}.results.v1"

    @property
    def catalog(self) -> str:
        """What the workers can serve; compacted, one partition."""
        return f"{self.prefix}.catalog.v1"

    @property
    def letter_marks(self) -> str:
        """Which dead letters were replayed or dropped; compacted, one partition."""
        return f"{self.prefix}.dlq-marks.v1"

    def retry(self, tier: int) -> str:
        """Jobs that wait to be tried again, all for the same time; the first tier is 1."""
        return f"{self.prefix}.retry.{tier}.v1"

    def retry_group(self, tier: int) -> str:
        return f"{self.prefix}.retry.{tier}"

    @property
    def model_states(self) -> str:
        """Which versions operators want loaded or unloaded; compacted, one partition."""
        return f"{self.prefix}.model-states.v1"

    @property
    def worker_reports(self) -> str:
        """Which versions workers do not serve, and why; compacted, one partition."""
        return f"{self.prefix}.worker-reports.v1"

    @property
    def routes(self) -> str:
        """How models' traffic splits among their versions; compacted, one partition, keyed by model."""
        return f"{self.prefix}.routes.v1"

    @property
    def holds(self) -> str:
        """What operators hold, refuse and end; compacted, one partition, keyed by the hold's id."""
        return f"{self.prefix}.holds.v1"

    @property
    def held(self) -> str:
        """Jobs that workers have put aside, since their tenant is held; as they lay in their lanes."""
        return f"{self.prefix}.held.v1"

    @property
    def held_group(self) -> str:
        return f"{self.prefix}.held"

    @property
    def stats(self) -> str:
        """What workers count, a version and interval; keyed by model and version."""
        return f"{self.prefix}.stats.v1"

    @property
    def shadows(self) -> str:
        """What comparing shadows' answers has found; keyed by the life of a worker."""
        return f"{self.prefix}.shadows.v1"

    @property
    def stats_windows(self) -> str:
        """What the controller of rollouts keeps of the stats, so that it has it again after a restart; compacted."""
        return f"{self.prefix}.stats-windows.v1"

    @property
    def feedback(self) -> str:
        """What callers tell of answers, keyed by job id."""
        return f"{self.prefix}.feedback.v1"

    @property
    def feedback_group(self) -> str:
        return f"{self.prefix}.feedback"

    @property
    def rollout_group(self) -> str:
        return f"{self.prefix}.rollout"

    @property
    def router_group(self) -> str:
        return f"{self.prefix}.router"

    @property
    def sink_group(self) -> str:
        return f"{self.prefix}.sink"

    @property
    def shadows_group(self) -> str:
        return f"{self.prefix}.shadows"

    def lane(self, lane: Lane) -> str:
        return f"{self.prefix}.lane.{lane}.v1"

    def lane_group(self, lane: Lane) -> str:
        """One group a lane, so that a rebalance of one model stands no other model still."""
        return f"{self.prefix}.{lane}"

    @staticmethod
    def dead_letter(topic: str) -> str:
        return f"dlq.{topic}"
