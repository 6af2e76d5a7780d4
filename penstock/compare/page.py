"""A comparison as one HTML page that loads nothing: for a mail, a ticket, a printer. Pure.

Whatever a gateway says goes through `escape`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from penstock.compare.plots import Interval, Line, curves, intervals, over_time
from penstock.compare.rendering import TITLES, head, lines, notes, rows
from penstock.documents import Document
from penstock.showing import filled_columns

_STYLE: Final = """
:root { color-scheme: light dark; --text: #1d2430; --dim: #5b6675; --back: #fff; --line: #d5dae1;
  --v0: #1f6fb2; --v1: #c8501e; --v2: #2c8a4b; --v3: #8a4fb0; --v4: #a08400; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ee; --dim: #9aa5b4; --back: #14181f; --line: #343c48;
  --v0: #6db3ee; --v1: #f2905f; --v2: #6cc98a; --v3: #c49ae6; --v4: #d9bd4a; } }
@media print { :root { color-scheme: light; --text: #000; --dim: #444; --back: #fff; --line: #bbb;
  --v0: #1f6fb2; --v1: #c8501e; --v2: #2c8a4b; --v3: #8a4fb0; --v4: #a08400; } figure { break-inside: avoid; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--text); background: var(--back); overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; } h2 { font-size: 1rem; margin: 0 0 .5rem; }
p { margin: .25rem 0; } .dim { color: var(--dim); font-size: .875rem; }
.said { margin: 1rem 0; padding: .5rem .75rem; border-left: 4px solid var(--v0); }
.said.worse, .said.mixed { border-color: var(--v1); } .said.better { border-color: var(--v2); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; font-size: .875rem; }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; } svg { width: 100%; max-width: 34rem; height: auto; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
.axis { stroke: var(--dim); } .level { stroke: var(--line); } polyline { fill: none; stroke-width: 1.8; }
.key { display: inline-block; width: .75rem; height: .75rem; border-radius: 2px; margin: 0 .25rem 0 .75rem; }
"""
_COLORS: Final = "".join(
    f".v{n} {{ fill: var(--v{n}); }} .l{n} {{ stroke: var(--v{n}); }} .k{n} {{ background: var(--v{n}); }}\n"
    for n in range(5)
)


def page(found: Document) -> str:
    """A whole document, in UTF-8."""
    title = escape(f"{found['model']}: versions {', '.join(each['version'] for each in found['versions'])}")
    sure = f"{100 * found['confidence']:g} %"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title><style>{_STYLE}{_COLORS}</style></head><body>
<h1>{title}</h1><p class="dim">{escape(head(found))}</p>
{"".join(map(_said, found["differences"]))}
<p>{_keys(found)}</p>
<div class="scroll">{_table(found)}</div>
<div class="plots">{"".join(_plots(found))}</div>
{"".join(f'<p class="dim">{escape(each)}</p>' for each in notes(found))}
<p class="dim">Bounds hold however often one looks, with a probability of {sure}: those of a version each by itself,
those of what is said above all together.</p>
</body></html>
"""


def _said(difference: Document) -> str:
    return f'<p class="said {escape(difference["finding"])}">{escape(difference["told"])}</p>'


def _keys(found: Document) -> str:
    names = [escape(each["version"]) for each in found["versions"]]
    return "".join(f'<span class="key k{number}"></span>version {name}' for number, name in enumerate(names))


def _table(found: Document) -> str:
    head_row, *body = filled_columns(TITLES, lines(found))
    cells = "".join(f"<th>{escape(each.capitalize())}</th>" for each in head_row)
    told = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>" for row in body)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{told}</tbody></table>"


def _plots(found: Document) -> Sequence[str]:
    """Those that there is something to draw of."""
    versions = found["versions"]
    drawn = [
        _shares("Failed jobs", [(each["version"], each["failed"]) for each in versions]),
        _shares("Bad outcomes", [(each["version"], each["outcomes"] and each["outcomes"]["bad"]) for each in versions]),
        _shares("Answers that agree", [(each["version"], each["agreement"]) for each in versions]),
        _run_times(versions),
        _course("Failed jobs over time", versions, "jobs", "failed"),
        _course("Bad outcomes over time", versions, "told", "bad"),
    ]
    return [each for each in drawn if each]


def _shares(title: str, found: Sequence[tuple[str, Document | None]]) -> str:
    if not any(each for _, each in found):
        return ""
    drawn = [
        Interval(name) if each is None else Interval(name, each["value"], each["lower"], each["upper"])
        for name, each in found
    ]
    return _figure(title, intervals(title, drawn))


def _run_times(versions: Sequence[Document]) -> str:
    sizes = [each["run_time"] for each in versions]
    if not all(sizes):
        return ""
    drawn = []
    for version, run_time in zip(versions, sizes, strict=True):
        up_to, points = 0, []
        for seconds_a_row, runs in run_time["bins"]:
            up_to += runs
            points.append((seconds_a_row, up_to / run_time["runs"]))
        drawn.append(Line(version["version"], points))
    title = f"Run time a row, up to: runs of {rows(sizes[0])}"
    return _figure(title, curves(title, drawn))


def _course(title: str, versions: Sequence[Document], of: str, count: str) -> str:
    drawn = [
        Line(
            version["version"],
            [
                (datetime.fromisoformat(each["began_at"]).timestamp(), each[count] / each[of])
                for each in version["over_time"]
                if each[of]
            ],
        )
        for version in versions
    ]
    times = [time for line in drawn for time, _ in line.points]
    if len(set(times)) < 2:
        return ""
    ends = [f"{datetime.fromtimestamp(time, UTC):%m-%d %H:%M}" for time in (min(times), max(times))]
    return _figure(title, over_time(title, drawn, *ends))


def _figure(title: str, drawn: str) -> str:
    return f"<figure><h2>{escape(title)}</h2>{drawn}</figure>"
