import re
from collections.abc import Iterator
from pathlib import Path

from tools.metrics import PAGE, metrics, render

ROOT = Path(__file__).parents[3]
PACKAGES = ("schemas", "runtime", "stores", "producers", "gateway", "workers", "penstock")
MADE = re.compile(r"\b(?:Counter|Gauge|Histogram|Summary|Info|Enum)\(\s*\"(penstock_\w+)\"")


def test_the_page_is_what_the_code_registers() -> None:
    assert PAGE.read_text() == render(), "run `make docs`"


def made_in_the_code() -> Iterator[str]:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            yield from MADE.findall(file.read_text())


def test_no_metric_is_left_out() -> None:
    made = set(made_in_the_code())
    assert "penstock_gateway_lane_depth_records" in made
    assert made - {told.name for section in metrics().values() for told in section} == set()


def test_every_metric_says_what_it_is() -> None:
    assert [told.name for section in metrics().values() for told in section if not told.meaning] == []
