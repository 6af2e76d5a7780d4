"""Plots as inline SVG, drawn for a width of a telephone. Pure. Whatever text they are given, they escape it."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final, NamedTuple

from penstock.compare.rendering import percent, seconds

WIDTH: Final = 360
LEFT: Final = 48
RIGHT: Final = 12
TOP: Final = 8
BOTTOM: Final = 34
HEIGHT: Final = 200
LINE: Final = 34
# What is written at a number.
Told = Callable[[float], str]
# As many as versions can be compared.
DASHES: Final = ("none", "6 3", "2 3", "8 3 2 3", "1 2")


class Interval(NamedTuple):
    """A value of a version, and between what it lies: all 0 to 1. `value` is None where nothing is known of it."""

    name: str
    value: float | None = None
    lower: float = 0.0
    upper: float = 0.0


class Line(NamedTuple):
    """Points of a version, from left to right."""

    name: str
    points: Sequence[tuple[float, float]]


class Axis(NamedTuple):
    """Where numbers are drawn, from the least to the most."""

    least: float
    most: float
    begin: float
    end: float

    def place(self, value: float) -> float:
        span = self.most - self.least
        part = (value - self.least) / span if span else 0.5
        return self.begin + min(1.0, max(0.0, part)) * (self.end - self.begin)


def intervals(title: str, found: Sequence[Interval]) -> str:
    """A bar a version below its name, from the lower to the upper bound, with a dot at the value."""
    height = TOP + LINE * len(found) + BOTTOM
    most = nice(max(each.upper for each in found))
    across = Axis(0.0, most, LEFT, WIDTH - RIGHT)
    drawn = [_ticks(across, height, [0.0, most / 2, most], lambda value: f"{100 * value:.3g} %")]
    for number, each in enumerate(found):
        y = TOP + LINE * (number + 0.65)
        told = each.name if each.value is not None else f"{each.name}: nothing known"
        drawn.append(f'<text x="{LEFT}" y="{y - 9:.1f}">{escape(told)}</text>')
        if each.value is None:
            continue
        low, high, value = (across.place(at) for at in (each.lower, each.upper, each.value))
        drawn.append(
            f'<rect class="v{number}" x="{low:.1f}" y="{y - 5:.1f}" width="{max(1.0, high - low):.1f}" height="10" '
            f'rx="2" opacity="0.45"/><circle class="v{number}" cx="{value:.1f}" cy="{y:.1f}" r="4"/>'
        )
    return _svg(title, height, drawn)


def curves(title: str, found: Sequence[Line]) -> str:
    """The share of runs, 0 to 1, that took so long at most: seconds on a logarithmic scale."""
    places = [x for line in found for x, _ in line.points]
    across = Axis(math.log10(min(places)), math.log10(max(places)), LEFT, WIDTH - RIGHT)
    up = Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    tens = [float(at) for at in range(math.ceil(across.least), math.floor(across.most) + 1)]
    marks = tens or [across.least, across.most]
    drawn = [
        _ticks(across, HEIGHT, marks, lambda value: seconds(10**value)),
        _levels(up, [0.0, 0.5, 0.95], lambda value: f"{100 * value:g} %"),
    ]
    for number, line in enumerate(found):
        points = [(across.place(math.log10(x)), up.place(y)) for x, y in line.points]
        drawn.append(_path(points, number))
    return _svg(title, HEIGHT, drawn)


def over_time(title: str, found: Sequence[Line], told_from: str, told_until: str) -> str:
    """Shares, 0 to 1, by Unix times."""
    places = [x for line in found for x, _ in line.points]
    most = nice(max(y for line in found for _, y in line.points))
    across = Axis(min(places), max(places), LEFT, WIDTH - RIGHT)
    up = Axis(0.0, most, HEIGHT - BOTTOM, TOP)
    names = {across.least: told_from, across.most: told_until}
    drawn = [
        _ticks(across, HEIGHT, list(names), lambda value: names[value]),
        _levels(up, [0.0, most / 2, most], lambda value: f"{percent(value)} %"),
    ]
    for number, line in enumerate(found):
        points = [(across.place(x), up.place(y)) for x, y in line.points]
        drawn.append(_path(points, number))
        drawn += [f'<circle class="v{number}" cx="{x:.1f}" cy="{y:.1f}" r="1.6"/>' for x, y in points]
    return _svg(title, HEIGHT, drawn)


def nice(value: float) -> float:
    """A round number at or above the share, 1 at most."""
    if value <= 0:
        return 0.01
    size = math.pow(10, math.floor(math.log10(value)))
    return min(1.0, next(step * size for step in (1.0, 2.0, 5.0, 10.0) if step * size >= value * 0.999))


def _svg(title: str, height: float, drawn: Sequence[str]) -> str:
    told = escape(title)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{told}"><title>{told}</title>'
        f"{''.join(drawn)}</svg>"
    )


def _path(points: Sequence[tuple[float, float]], number: int) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="l{number}" stroke-dasharray="{DASHES[number]}" points="{joined}"/>'


def _ticks(axis: Axis, height: float, values: Sequence[float], told: Told) -> str:
    """Marks below, from left to right; the first and the last stay within the picture."""
    bottom = height - BOTTOM
    drawn = [f'<line class="axis" x1="{axis.begin}" y1="{bottom:g}" x2="{axis.end}" y2="{bottom:g}"/>']
    for number, value in enumerate(values):
        x = axis.place(value)
        is_edge = number in (0, len(values) - 1) and len(values) > 1
        anchor = ("start" if number == 0 else "end") if is_edge else "middle"
        drawn.append(f'<text x="{x:.1f}" y="{bottom + 16:g}" text-anchor="{anchor}">{escape(told(value))}</text>')
    return "".join(drawn)


def _levels(axis: Axis, values: Sequence[float], told: Told) -> str:
    drawn = []
    for value in values:
        y = axis.place(value)
        drawn.append(
            f'<line class="level" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(told(value))}</text>'
        )
    return "".join(drawn)
