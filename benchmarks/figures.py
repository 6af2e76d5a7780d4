"""Figures: medians of rounds, ratios of medians, and the table they end up in."""

import os
import platform
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

README = Path(__file__).with_name("README.md")
BEGIN = "<!-- figures: begin, written by `make bench` -->"
END = "<!-- figures: end -->"


class Rounds(msgspec.Struct, frozen=True):
    """The values of one figure, one a round."""

    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        return f"{amount(self.median)} ({amount(low)} to {amount(high)})"


def amount(value: float) -> str:
    """Three significant digits, thousands apart."""
    value = float(f"{value:.3g}")
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def ratio(ours: Rounds, theirs: Rounds) -> str:
    return f"{ours.median / theirs.median:.2f}"


class Table(msgspec.Struct, frozen=True):
    title: str
    columns: Sequence[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        return "\n".join([*lines, *map(_line, self.rows), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def machine() -> str:
    """The machine in words: what figures depend on."""
    model = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({model}), {memory_gib:.0f} GiB, Python {platform.python_version()}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def write(part: str, order: Sequence[str], tables: Sequence[Table], how: str) -> None:
    """Put the tables of a part between the marks in README.md, in the place of its earlier ones; others stay."""
    text = README.read_text()
    before, rest = text.split(BEGIN)
    written, after = rest.split(END)
    _, *pieces = re.split(r"<!-- part: (.+) -->\n", written)
    parts = dict(zip(pieces[::2], pieces[1::2], strict=True))
    parts[part] = "\n".join(["", how, "", *(table.markdown() for table in tables)])
    body = "\n".join(f"<!-- part: {name} -->\n{parts[name].rstrip()}\n" for name in order if name in parts)
    README.write_text(f"{before}{BEGIN}\n\n{body}\n{END}{after}")
