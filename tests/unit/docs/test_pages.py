"""Pages name only what is there."""

import re
import subprocess
from pathlib import Path

import pytest

from examples.digits import write_jobs
from penstock.cli import COMMANDS
from tests.unit.docs.snippets import snippets_of

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
README = ROOT / "README.md"
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_that_exist(page: Path) -> None:
    broken = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]

    assert broken == []


def test_the_list_of_pages_names_them_all() -> None:
    index = ROOT / "docs" / "README.md"

    assert set(LINK.findall(index.read_text())) >= {page.name for page in index.parent.glob("*.md")} - {index.name}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_make_targets_and_commands_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"`make ([a-z]+)|^make ([a-z]+)", text, re.MULTILINE))
    commands = set(re.findall(r"(?:`|bin/)penstock ([a-z][a-z-]*)", text))

    assert {target for pair in targets for target in pair if target} <= TARGETS
    assert commands <= COMMANDS.keys()


def test_the_readme_has_commands_that_can_be_run_and_they_are_sound_shell() -> None:
    snippets = snippets_of(README)

    assert len(snippets) >= 5
    for snippet in snippets:
        subprocess.run(["bash", "-n", "-c", snippet.commands], check=True, timeout=10)


def test_every_target_of_the_makefile_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: ([a-z]+)$", text, re.MULTILINE))
    explained = set(re.findall(r"^([a-z]+):.*## \S", text, re.MULTILINE))

    assert phony == explained == TARGETS


def test_the_file_of_example_jobs_is_what_its_script_writes() -> None:
    assert write_jobs.JOBS.read_text() == "".join(f"{line}\n" for line in write_jobs.lines())


def test_every_decision_is_listed_by_its_title() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text()
    pages = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    titles = [page.read_text().partition("\n")[0].removeprefix("# ") for page in pages]

    expected = [f"- [{title}]({page.name})" for page, title in zip(pages, titles, strict=True)]
    assert [line for line in index.splitlines() if line.startswith("- ")] == expected
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
