"""Tables and results, as a terminal and a pipe get them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock import showing
from penstock.results_shown import show_result
from penstock.showing import ago, show_facts, show_table, table_lines

TITLES = ("JOB", "STATUS", "ERROR")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "is_terminal", lambda: True)
    monkeypatch.setattr("penstock.results_shown.is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")


def shown(result: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    show_result(result)
    return capsys.readouterr().out.splitlines()


def joined(lines: list[list[str]]) -> list[str]:
    return ["  ".join(line).rstrip() for line in lines]


def test_columns_are_as_wide_as_what_stands_in_them_and_empty_ones_are_left_out() -> None:
    rows = [("job_1", "", "9", "none"), ("job_22", "", "10", "x")]
    assert joined(table_lines(("JOB", "EMPTY", "LIVE", "WHY"), rows, None, ["LIVE"])) == [
        "JOB     LIVE  WHY",
        "job_1      9  none",
        "job_22    10  x",
    ]


def test_only_the_last_column_is_cut_to_the_width() -> None:
    lines = joined(table_lines(TITLES, [("job_" + "1" * 20, "failed", "a long story " * 5)], 60))
    assert lines[1] == f"job_{'1' * 20}  failed  a long story a long story…"
    assert len(lines[1]) <= 60
    narrow = joined(table_lines(TITLES, [("job_" + "1" * 20, "failed", "a long story")], 10))
    assert narrow[1].startswith(f"job_{'1' * 20}  failed  ")


def test_wide_characters_count_as_two_columns() -> None:
    head, row, other = joined(table_lines(("A", "B"), [("日本", "x"), ("ab", "y")], None))
    assert (head, row, other) == ("A     B", "日本  x", "ab    y")


def test_a_pipe_gets_whole_lines_without_colors(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(TITLES, [("job_1", "failed", "why " * 100)])
    assert capsys.readouterr().out.splitlines()[1] == "job_1  failed  " + ("why " * 100).rstrip()


def test_a_terminal_gets_colors_unless_its_user_wants_none(
    terminal: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show_table(TITLES, [("job_1", "failed", "")])
    monkeypatch.setenv("NO_COLOR", "1")
    show_table(TITLES, [("job_1", "failed", "")])
    # click takes colors away from what is no terminal; what it would have written is asked here.
    monkeypatch.delenv("NO_COLOR")
    assert showing.styled("failed", "red") == "\x1b[31mfailed\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert showing.styled("failed", "red") == "failed"


def test_what_others_wrote_cannot_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(TITLES, [("job\x1b[2J", "a\nb", "\x07")])
    show_facts({"error": "\x1b]0;title\x07"})
    show_result({"predictions": ["\x1b[2J", "x"]})
    show_result({"predictions": ["\x1b[2J\nsecond"]})
    show_result({"predictions": [{"\x1b[1m": 0.5, "b": 0.5}]})
    show_result({"predictions": [{"\x1b[1m": ["\x1b[1m"], "b": "\x1b"}]})
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("passed", "told"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172_800, "2 d"), (-5, "0 s")],
)
def test_how_long_ago_is_told_in_one_unit(passed: float, told: str) -> None:
    assert ago(NOW - timedelta(seconds=passed), NOW) == told


def test_classes_are_shown_by_their_scores_in_percent(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown({"predictions": [{"label": "b", "scores": {"a": 0.25, "b": 0.75}}]}, capsys) == [
        "label  b",
        "scores",
        "b  75.0%",
        "a  25.0%",
    ]


def test_scores_that_are_no_shares_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown({"predictions": [{"a": -1.5, "b": 12.25}]}, capsys) == ["b  12.25", "a   -1.5"]


def test_a_terminal_gets_bars_beside_shares(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown({"predictions": [{"a": 0.25, "b": 0.75}]}, capsys)
    assert lines[0].startswith("b  75.0%  ━━━━━━━━━━━━━━━━━━")
    assert all(len(line) <= 40 for line in lines)


def test_of_a_thousand_classes_the_best_ten_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown({"predictions": [{str(number): number / 499_500 for number in range(1000)}]}, capsys)
    assert len(lines) == 11
    assert lines[0].split() == ["999", "0.2%"]
    assert lines[-1] == "... 990 more"


def test_of_a_vector_the_head_and_the_length_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown({"predictions": [[0.1] * 384]}, capsys) == ["[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, ...]  (384 numbers)"]
    assert shown({"predictions": [[1.0, 2.0]]}, capsys) == ["[1, 2]"]
    assert shown({"predictions": [[[0.5] * 4] * 3]}, capsys) == ["[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ...]  (shape [3, 4])"]


@pytest.mark.parametrize("value", [3, 2.5, "seven", True, None, [], [[]]])
def test_one_value_is_shown_as_it_is(value: object, capsys: pytest.CaptureFixture[str]) -> None:
    words = {True: "true", 3: "3"}
    (line,) = shown({"predictions": [value]}, capsys)
    assert line == ("null" if value is None else "[]" if isinstance(value, list) else words.get(value, str(value)))  # type: ignore[call-overload]


def test_several_rows_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"label": "a", "scores": {"a": 0.9, "b": 0.1}}, {"label": "b", "scores": {"a": 0.2, "b": 0.8}}]
    assert shown({"predictions": rows}, capsys) == ["ROW  LABEL  SCORES", "  1  a      a (0.9)", "  2  b      b (0.8)"]
    assert shown({"predictions": [[1.0, 2.0], [3.0, 4.0]]}, capsys) == ["ROW  VALUE", "  1  [1, 2]", "  2  [3, 4]"]


def test_of_many_rows_the_first_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown({"predictions": list(range(1000))}, capsys)
    assert len(lines) == 52
    assert lines[-1] == "... 950 rows more"


def test_no_rows_are_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown({"predictions": []}, capsys) == ["no rows"]


def test_tensors_are_shown_row_by_row(capsys: pytest.CaptureFixture[str]) -> None:
    result = {
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [2], "data": [7, 1]},
            {"name": "scores", "datatype": "FP32", "shape": [2, 2], "data": [0.5, 0.5, 0.25, 0.75]},
        ]
    }
    assert shown(result, capsys) == ["ROW  LABEL  SCORES", "  1  7      [0.5, 0.5]", "  2  1      [0.25, 0.75]"]
    one = {"outputs": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [7]}]}
    assert shown(one, capsys) == ["label  7"]


def test_a_long_text_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = shown({"predictions": ["a" * 3000]}, capsys)
    assert line == "a" * 2000 + "... (1000 characters more)"
