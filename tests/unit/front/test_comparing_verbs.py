"""`penstock feedback` and `penstock compare` against a gateway that answers as each test says."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.unit.front.answering import Gateway, Invoke, Json, documents

AT = "2026-03-01T12:00:00Z"
KEPT = {
    "object": "feedback",
    "job_id": "job_1",
    "model": "digits",
    "model_version": "2",
    "variant": None,
    "reward": 0.5,
    "label": None,
    "predicted": None,
    "told_at": AT,
}
HOSTILE = '<script>alert(1)</script>"&\x1b[2J'


def share(value: float, of: int = 1000) -> Json:
    return {"count": round(value * of), "of": of, "value": value, "lower": value / 2, "upper": min(1, value * 2)}


def version(name: str, failed: float = 0.01, **fields: Any) -> Json:
    quantiles = {"value": 0.002, "lower": 0.0018, "upper": 0.0025}
    spans = [
        {"began_at": f"2026-03-01T{hour}:00:00Z", "jobs": 100, "failed": 1, "told": 10, "bad": 2} for hour in (10, 11)
    ]
    return {
        "version": name,
        "ends": {"succeeded": 990, "failed": 10},
        "compared": 1000,
        "rescued": 0,
        "failed": share(failed),
        "run_time": {
            "rows_from": 5,
            "rows_to": 8,
            "runs": 300,
            "p50": quantiles,
            "p95": quantiles,
            "p99": quantiles | {"upper": None},
            "bins": [[0.001, 100], [0.002, 200]],
        },
        "outcomes": {"bad": share(0.2, 100), "reward": 0.75},
        "agreement": None,
        "counted_until": AT,
        "over_time": spans,
        **fields,
    }


def comparison(*versions: Json, told: str = "2 is worse than 1: its jobs fail 3.1 to 9 times as often") -> Json:
    return {
        "object": "comparison",
        "model": "digits",
        "lane": "live",
        "since": AT,
        "until": AT,
        "confidence": 0.95,
        "basis": "share",
        "versions": list(versions) or [version("1"), version("2", 0.05)],
        "differences": [{"version": "2", "than": "1", "finding": "worse", "told": told}],
    }


def empty(name: str) -> Json:
    nothing = dict.fromkeys(("failed", "run_time", "outcomes", "agreement", "counted_until"))
    return version(name) | {"compared": 0, "over_time": [], "ends": {}} | nothing


def test_a_reward_is_told(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["POST /v1/jobs/job_1/feedback"] = KEPT
    ran = invoke("feedback", "job_1", "--reward", "0.5")
    assert (ran.exit_code, ran.stdout) == (0, "job_1 (digits/2): reward 0.5\n")
    assert json.loads(gateway.requests[-1].content) == {"reward": 0.5}


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ({"reward": 1.0, "label": "7", "predicted": "7"}, "label 7, as predicted"),
        ({"reward": 0.0, "label": "7", "predicted": "1"}, "label 7, predicted 1"),
        ({"reward": None, "label": "7", "predicted": None}, "label 7; which is the job's own is not known"),
    ],
)
def test_a_label_is_told_and_whether_it_was_right(gateway: Gateway, invoke: Invoke, kept: Json, says: str) -> None:
    gateway.routes["POST /v1/jobs/job_1/feedback"] = KEPT | kept
    assert says in invoke("feedback", "job_1", "--label", "7").stdout
    assert json.loads(gateway.requests[-1].content) == {"label": "7"}
    assert documents(invoke("feedback", "job_1", "--label", "7", "--json"))[0]["label"] == "7"


@pytest.mark.parametrize("options", [[], ["--reward", "1", "--label", "7"], ["--reward", "2"]])
def test_nothing_is_sent_that_is_no_feedback(gateway: Gateway, invoke: Invoke, options: list[str]) -> None:
    assert invoke("feedback", "job_1", *options).exit_code == 2
    assert gateway.requests == []


def test_versions_are_shown_side_by_side_with_what_is_proven(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/models/digits/compare"] = comparison()
    ran = invoke("compare", "digits", "--versions", "1, 2", "--since", "2h")
    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("digits, live jobs that ended from 2026-03-01 12:00 to ")
    assert lines[1].split("  ")[0] == "VERSION"
    assert "1,000  5 % (2.5 to 10)" in lines[3]
    assert "2 ms (1.8 ms to 2.5 ms)" in lines[2]
    assert "AGREES" not in lines[1]
    assert "2 is worse than 1: its jobs fail 3.1 to 9 times as often" in lines
    assert "run times are those of runs of 5 to 8 rows" in lines
    asked = gateway.requests[-1].url.params
    assert (asked["versions"], asked["lane"]) == ("1,2", "live")
    assert documents(invoke("compare", "digits", "--versions", "1,2", "--json")) == [comparison()]


def test_versions_without_counts_are_shown_and_why(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/models/digits/compare"] = comparison(empty("1"), empty("2"), told="nothing tells")
    ran = invoke("compare", "digits", "--versions", "1,2")
    assert ran.exit_code == 0
    assert "nothing was counted: a rollout controller counts" in ran.stdout


@pytest.mark.parametrize("options", [[], ["--versions", "1"], ["--versions", "1,A B"], ["--since", "soon"]])
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(
    gateway: Gateway, invoke: Invoke, options: list[str]
) -> None:
    assert invoke("compare", "digits", *options).exit_code == 2
    assert gateway.requests == []


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"} or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_has_plots_and_loads_nothing(gateway: Gateway, invoke: Invoke, tmp_path: Path) -> None:
    gateway.routes["GET /v1/models/digits/compare"] = comparison()
    file = tmp_path / "report.html"
    ran = invoke("compare", "digits", "--versions", "1,2", "--html", str(file))
    assert ran.exit_code == 0, ran.output
    assert ran.stderr == f"wrote {file}\n"
    text = file.read_text("utf-8")
    found = Page(text)
    assert found.tags.count("svg") == 5
    assert found.links == []
    assert "url(" not in text
    assert "@import" not in text
    assert {"script", "link", "img", "iframe"}.isdisjoint(found.tags)
    assert "2 is worse than 1" in found.text


def test_a_page_of_versions_without_counts_has_no_plots(gateway: Gateway, invoke: Invoke, tmp_path: Path) -> None:
    gateway.routes["GET /v1/models/digits/compare"] = comparison(empty("1"), empty("2"))
    file = tmp_path / "report.html"
    assert invoke("compare", "digits", "--versions", "1,2", "--html", str(file)).exit_code == 0
    assert "svg" not in Page(file.read_text("utf-8")).tags


def test_hostile_names_stay_text(gateway: Gateway, invoke: Invoke, tmp_path: Path) -> None:
    hostile = comparison(version(HOSTILE), version("2"), told=HOSTILE) | {"model": HOSTILE, "basis": HOSTILE}
    hostile["differences"][0]["finding"] = f'"><script>{HOSTILE}'
    gateway.routes["GET /v1/models/digits/compare"] = hostile
    file = tmp_path / "report.html"
    ran = invoke("compare", "digits", "--versions", "1,2", "--html", str(file))
    assert ran.exit_code == 0
    assert "\x1b" not in ran.stdout
    assert "script" not in Page(file.read_text("utf-8")).tags


def test_a_page_that_cannot_be_written_is_told(gateway: Gateway, invoke: Invoke, tmp_path: Path) -> None:
    gateway.routes["GET /v1/models/digits/compare"] = comparison()
    ran = invoke("compare", "digits", "--versions", "1,2", "--html", str(tmp_path / "none" / "report.html"))
    assert ran.exit_code == 1
    assert "cannot be written: No such file or directory" in ran.stderr


def test_an_answer_that_is_no_comparison_is_told(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/models/digits/compare"] = comparison() | {"versions": []}
    ran = invoke("compare", "digits", "--versions", "1,2")
    assert ran.exit_code == 1
    assert "not what a gateway answers" in ran.stderr
