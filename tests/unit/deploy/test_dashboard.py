"""Every metric that the dashboard names is one that the code registers, with the labels that it is asked by."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "penstock.json"
PACKAGES = ("runtime", "stores", "producers", "gateway", "workers")
# Labels that Prometheus adds, and the bound of a histogram's bucket.
ADDED = frozenset({"job", "instance", "le"})
# How a metric's name ends where it is queried, by its type.
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@pytest.fixture(scope="module")
def labels() -> dict[str, frozenset[str]]:
    """Every series of ours, by the name that it is queried by, with its labels."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("metrics.py")):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    # The registry has no public way to ask for labels of a metric that has no sample yet.
    metrics = [found for found in REGISTRY._collector_to_names if isinstance(found, MetricWrapperBase)]
    return {
        f"{metric._name}{ending}": frozenset(metric._labelnames)
        for metric in metrics
        for ending in ENDINGS[str(metric._type)]
        if metric._name.startswith("penstock_")
    }


def expressions(node: Any) -> Iterator[str]:
    """Every query in the dashboard, of panels and of variables."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"expr", "query"} and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


DASHBOARD_CONTENT = json.loads(DASHBOARD.read_text())
QUERIES = sorted(set(expressions(DASHBOARD_CONTENT)))


def test_there_are_queries_to_check() -> None:
    assert len(QUERIES) > 20


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_registered_metrics_and_their_labels(query: str, labels: dict[str, frozenset[str]]) -> None:
    named = set(re.findall(r"penstock_[a-z_]+", query))
    asked = {
        label.strip()
        for group in re.findall(r"by \(([^)]*)\)", query) + re.findall(r"\{([^{}]*)\}", query)
        for label in re.sub(r'\s*(=~|!~|!=|=)\s*"[^"]*"', "", group).split(",")
    }

    assert named - labels.keys() == set()
    for name in named:
        assert asked - ADDED <= labels[name]


def test_panels_lie_side_by_side_and_not_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD_CONTENT["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD_CONTENT["panels"]}) == len(DASHBOARD_CONTENT["panels"])


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    for panel in DASHBOARD_CONTENT["panels"]:
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
