"""What is imported is declared, where it is imported; what is declared is pinned, with its hashes."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
GROUPS: dict[str, list[str]] = PROJECT["dependency-groups"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
# What the benchmarks are held against has an environment of its own.
PEERS = (ROOT / "benchmarks" / "peers" / "requirements.in").read_text().split()
DEVELOPMENT = ("tests", "benchmarks", "examples", "deploy", "tools")
OURS = {"schemas", "runtime", "stores", "producers", "gateway", "workers", "penstock", *DEVELOPMENT}
# The extras that each part of the code may count on, beside what every install has.
HOMES = {
    "schemas": ["gateway", "router"],  # images only, imported where one comes
    "runtime": ["roles"],
    "producers": ["roles", "rows"],  # imported where a file of it is read
    "stores": ["stores", "sealing", "objects"],  # the latter two where a secret is sealed, or a blob is kept
    "gateway": ["gateway"],
    "workers/consuming": ["roles"],
    "workers/feeder": ["feeder"],
    "workers/inference": ["worker", "onnx", "torch", "sklearn", "text"],
    "workers/notifier": ["notifier"],
    "workers/rollout": ["rollout"],
    "workers/router": ["router"],
    "workers/sink": ["sink"],
    "penstock/client": [],
    "penstock/embedded": ["embedded"],
    "penstock/exporting": ["export"],
    "penstock/importing": ["worker", "onnx"],
    "penstock/submit": ["bulk"],
    "penstock": ["stack", "export"],
}


def names_of(requirements: Iterable[str]) -> set[str]:
    """Distributions named by requirements, through our own extras."""
    found: set[str] = set()
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["project"]["name"]:
            found |= names_of(line for extra in requirement.extras for line in EXTRAS[extra])
        else:
            found.add(canonicalize_name(requirement.name))
    return found


EVERYWHERE = names_of(PROJECT["project"]["dependencies"])


def imports_of(folder: str) -> Iterator[tuple[str, Path]]:
    """Top-level names of foreign packages that the folder's code imports, lazily or not."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules = [node.module]
            for module in modules:
                top = module.partition(".")[0]
                if top not in OURS and top not in sys.stdlib_module_names:
                    yield top, path.relative_to(ROOT)


@cache
def brought() -> Mapping[str, list[str]]:
    """The distributions that bring each package. All that is installed is read for it."""
    return packages_distributions()


def undeclared(folder: str, declared: set[str]) -> set[tuple[str, str]]:
    brings = brought()
    return {
        (top, str(path))
        for top, path in imports_of(folder)
        if declared.isdisjoint(canonicalize_name(name) for name in brings.get(top, [top]))
    }


@pytest.mark.parametrize("home", HOMES)
def test_what_a_part_imports_its_extras_bring(home: str) -> None:
    declared = EVERYWHERE | names_of(line for extra in HOMES[home] for line in EXTRAS[extra])

    assert undeclared(home, declared) == set()


@pytest.mark.parametrize("folder", DEVELOPMENT)
def test_what_development_code_imports_some_extra_or_group_brings(folder: str) -> None:
    everything = [*EXTRAS.values(), *GROUPS.values(), PEERS]
    declared = EVERYWHERE | names_of(line for lines in everything for line in lines)

    assert undeclared(folder, declared) == set()


def test_the_gateway_and_the_stack_install_no_torch() -> None:
    for extra in ("gateway", "router", "sink", "worker", "stack"):
        assert "torch" not in names_of(EXTRAS[extra]), extra


PINS = {
    canonicalize_name(match["name"]): match
    for match in re.finditer(
        r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?: ; [^\\\n]+)?(?P<hashes>( \\\n    --hash=sha256:[0-9a-f]{64})*)$",
        CONSTRAINTS,
        re.MULTILINE | re.ASCII,
    )
}
DECLARED = [
    requirement
    for lines in (PROJECT["project"]["dependencies"], *EXTRAS.values(), *GROUPS.values())
    for requirement in map(Requirement, lines)
    if requirement.name != PROJECT["project"]["name"]
]


@pytest.mark.parametrize("requirement", DECLARED, ids=str)
def test_a_dependency_is_pinned_to_a_version_that_it_allows(requirement: Requirement) -> None:
    pin = PINS.get(canonicalize_name(requirement.name))

    assert pin is not None, "run `make constraints`"
    assert requirement.specifier.contains(pin["version"], prereleases=True), "run `make constraints`"


def test_every_pin_carries_hashes() -> None:
    assert [name for name, pin in PINS.items() if not pin["hashes"]] == []


def test_the_constraints_hold_pins_and_nothing_else() -> None:
    lines = CONSTRAINTS.splitlines()
    pins = [line for line in lines if not line.startswith(("#", "    --hash=sha256:"))]

    assert lines[:2] == ["# This file was autogenerated by uv via the following command:", "#    make constraints"]
    assert [line for line in lines[2:] if line.startswith("#")] == []
    assert [line for line in pins if not re.match(r"[A-Za-z0-9._-]+==\S+", line)] == []
    assert "://" not in CONSTRAINTS


def test_the_installer_itself_is_pinned() -> None:
    assert {"uv", "hatchling"} <= PINS.keys()
