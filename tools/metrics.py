"""Writes docs/metrics.md from what the code registers.

    python -m tools.metrics [--check]

`--check` writes nothing and exits with 1 if the page is not current.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from prometheus_client.metrics import MetricWrapperBase

from tools.generated_page import writes
from workers.inference.gpu_metrics import GAUGES, UP

PAGE: Final = Path(__file__).parent.parent / "docs" / "metrics.md"
# Which modules register metrics, by who has them.
MODULES: Final[Mapping[str, Sequence[str]]] = {
    "Every role": ("runtime.metrics", "runtime.budget", "runtime.http_limits"),
    "Each role that follows the routes": ("producers.routes",),
    "Each role that follows the holds": ("producers.holds",),
    "`penstock gateway`": ("gateway.metrics",),
    "`penstock router`": ("workers.router.metrics",),
    "`penstock worker`": ("workers.inference.metrics",),
    "`penstock sink`": ("workers.sink.metrics",),
    "`penstock notifier`": ("workers.notifier.metrics",),
    "`penstock feeder`": ("workers.feeder.metrics",),
    "`penstock rollout-controller`": ("workers.rollout.metrics",),
}
GPU: Final = "`penstock worker` on a GPU"
INTRODUCTION: Final = """\
# Metrics

<!-- Written by `make docs` from what the code registers; do not edit. -->

Prometheus text at `/metrics`, or OpenMetrics where `Accept` asks for it: the gateway's on the port of its API, those of
the other roles on `PENSTOCK_HEALTH_PORT`. `penstock up` gives each role a port of its own, and lists them when it is
ready; `penstock status` shows them later. A histogram has `_bucket`, `_sum` and `_count`. Beside these, each role has
what `prometheus-client` tells of any process, `process_*` and `python_*`.

How full a lane is says `penstock_gateway_lane_depth_records`: jobs that wait in Kafka or are being worked on, the
figure by which the gateway answers `429 lane_full`.
"""


class Told(NamedTuple):
    name: str
    kind: str
    labels: Sequence[str]
    meaning: str


def render() -> str:
    sections = [_section(title, told) for title, told in metrics().items()]
    return "\n".join([INTRODUCTION, *sections])


def metrics() -> dict[str, list[Told]]:
    """All of them, by who has them."""
    found = {title: [each for name in names for each in _in(import_module(name))] for title, names in MODULES.items()}
    gpu = [Told(name, "gauge", ["gpu"], text) for name, text in (UP, *GAUGES.items())]
    return {**found, GPU: gpu}


def _in(module: ModuleType) -> Iterator[Told]:
    for value in vars(module).values():
        if isinstance(value, MetricWrapperBase):
            (family,) = value.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield Told(name, family.type, value._labelnames, family.documentation)  # noqa: SLF001 - it tells nobody


def _section(title: str, told: Iterable[Told]) -> str:
    lines = [f"## {title}", "", "| metric | kind | labels | meaning |", "| --- | --- | --- | --- |"]
    for each in told:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        lines.append(f"| `{each.name}` | {each.kind} | {labels} | {each.meaning} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    writes(PAGE, render)()
