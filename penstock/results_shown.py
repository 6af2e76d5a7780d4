"""A result as a person reads it: classes with their scores, a table of rows, the head of a vector."""

from collections.abc import Iterator, Mapping
from math import isclose, prod
from typing import Any, Final

import click
import msgspec
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from penstock.plain import printable
from penstock.showing import GAP, is_terminal, show, show_table

# The first so many of what is long; --json has all of it.
CLASSES: Final = 10
NUMBERS: Final = 6
ROWS: Final = 50
TEXT_CHARACTERS: Final = 2000
BAR_WIDTH: Final = 24

Row = Mapping[str, Any]


def show_result(result: Mapping[str, Any]) -> None:
    """`result` is what a job's document has there: predictions, or tensors of the Open Inference Protocol."""
    rows = rows_of(result)
    if len(rows) == 1:
        show(*one_row(rows[0]))
        return
    if not rows:
        click.echo("no rows")
        return
    titles = list(rows[0])
    cells = [(str(number), *(brief(row.get(title)) for title in titles)) for number, row in enumerate(rows[:ROWS], 1)]
    show_table(["ROW", *(title.upper() or "VALUE" for title in titles)], cells, right=["ROW"])
    if len(rows) > ROWS:
        show(Text(f"... {len(rows) - ROWS} rows more"))


def rows_of(result: Mapping[str, Any]) -> list[Row]:
    """Values by output, row by row. Where predictions name no output its name is empty."""
    if "predictions" in result:
        return [each if is_outputs(each) else {"": each} for each in result["predictions"]]
    columns = {
        output["name"]: nested(output["data"], output["shape"]) if "data" in output else []
        for output in result.get("outputs", [])
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=False)]


def is_outputs(prediction: Any) -> bool:
    """Whether it is a value for each of several outputs; scores by their labels are not."""
    return isinstance(prediction, dict) and not is_scores(prediction)


def is_scores(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(each, float) for each in value.values())


def nested(data: list[Any], shape: list[int]) -> list[Any]:
    """Flat values as rows of the tensor's shape; as they are where that is the shape of others."""
    if len(shape) < 2 or not data or prod(shape) != len(data):
        return data
    size = prod(shape[1:])
    return [nested(data[start : start + size], shape[1:]) for start in range(0, size * shape[0], size)]


def one_row(row: Row) -> Iterator[RenderableType]:
    """Each output below its name."""
    for name, value in row.items():
        long = is_scores(value)
        if name and not long:
            yield Text(f"{printable(name)}  ").append(text_of(value))
            continue
        if name:
            yield Text(printable(name), style="bold")
        yield scores(value) if long else text_of(value)


def scores(by_label: Mapping[str, float]) -> RenderableType:
    """The highest first; with a bar and in percent where they are shares of one."""
    ranked = sorted(by_label.items(), key=lambda each: -each[1])
    shares = all(0 <= score <= 1 for score in by_label.values()) and isclose(sum(by_label.values()), 1, abs_tol=0.01)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
    for label, score in ranked[:CLASSES]:
        bar = [ProgressBar(total=1, completed=score, width=BAR_WIDTH)] if shares and is_terminal() else []
        table.add_row(Text(printable(label)), f"{score:.1%}" if shares else f"{score:.6g}", *bar)
    if len(ranked) > CLASSES:
        table.add_row(f"... {len(ranked) - CLASSES} more", "")
    table.columns[1].justify = "right"
    return table


def text_of(value: Any) -> Text:
    """A scalar as it is; of a vector or a tensor the first numbers, and how many there are."""
    if isinstance(value, str):
        rest = len(value) - TEXT_CHARACTERS
        shown = "\n".join(printable(line) for line in value[:TEXT_CHARACTERS].splitlines())
        return Text(shown + (f"... ({rest} characters more)" if rest > 0 else ""))
    if not isinstance(value, list):
        return Text(number(value))
    shape = shape_of(value)
    flat = list(leaves(value, NUMBERS + 1))
    more = ", ..." if len(flat) > NUMBERS else ""
    what = f"{shape[0]} numbers" if len(shape) == 1 else f"shape {list(shape)}"
    told = f"  ({what})" if more else ""
    return Text(f"[{', '.join(number(each) for each in flat[:NUMBERS])}{more}]{told}")


def brief(value: Any) -> str:
    """The same in a cell of a table."""
    if is_scores(value):
        label, score = max(value.items(), key=lambda each: each[1])
        return f"{label} ({score:.3g})"
    return text_of(value).plain.replace("\n", " ")


def number(value: Any) -> str:
    """Floats to six digits: as exactly as FP32 has them, and no longer."""
    if isinstance(value, str):
        return printable(value)
    return f"{value:.6g}" if isinstance(value, float) else msgspec.json.encode(value).decode()


def shape_of(value: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def leaves(value: Any, limit: int) -> Iterator[Any]:
    """The first `limit` values, in order."""
    if not isinstance(value, list):
        yield value
        return
    found = 0
    for each in value:
        for leaf in leaves(each, limit - found):
            yield leaf
            found += 1
        if found >= limit:
            return
