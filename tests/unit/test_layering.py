"""Imports point one way: schemas <- runtime <- stores, producers <- gateway | workers <- penstock."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What each package may import of ours, besides itself.
ALLOWED = {
    "schemas": set[str](),
    "runtime": {"schemas"},
    "stores": {"schemas", "runtime"},
    "producers": {"schemas", "runtime"},
    "gateway": {"schemas", "runtime", "stores", "producers"},
    "workers": {"schemas", "runtime", "stores", "producers"},
    "penstock": {"schemas", "runtime", "stores", "producers", "gateway", "workers"},
}
HEAVY = {"torch", "onnxruntime", "tokenizers", "faust"}
FORBIDDEN_NAMES = {"common", "core", "utils", "util", "helpers", "helper", "base", "manager"}
# What a module may do when it is imported, besides defining: nothing that reaches outside.
OUTSIDE = {"open", "print", "run", "connect", "start", "getenv", "system", "Popen", "basicConfig"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[str]:
    """The top-level packages that the file imports, wherever in it."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    allowed = ALLOWED[package] | {package}
    ours = set(ALLOWED)

    wrong = [(path.name, name) for path in modules(package) for name in imports(path) if name in ours - allowed]

    assert not wrong


def test_no_module_imports_in_a_circle_not_even_for_its_types() -> None:
    names = {module_name(path): path for package in ALLOWED for path in modules(package)}
    graph = {name: set(modules_imported(path)) & names.keys() - {name} for name, path in names.items()}

    assert list(TopologicalSorter(graph).static_order())  # raises `CycleError` with the circle


def test_no_folders_of_the_worker_import_each_other_in_a_circle() -> None:
    root = "workers.inference."
    graph: dict[str, set[str]] = {}
    for path in modules("workers/inference"):
        folder, _, within = module_name(path).removeprefix(root).partition(".")
        if within:  # what lies beside the folders joins them
            met = {
                name.removeprefix(root).partition(".")[0] for name in modules_imported(path) if name.startswith(root)
            }
            graph.setdefault(folder, set()).update(met - {folder})

    assert list(TopologicalSorter(graph).static_order())  # raises `CycleError` with the circle


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules_imported(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names
            yield node.module or ""


@pytest.mark.parametrize("command", ["submit", "dlq"])
def test_a_client_of_the_stack_needs_nothing_of_its_roles(command: str) -> None:
    wrong = [(path.name, name) for path in modules(f"penstock/{command}") for name in imports(path)]

    assert {name for _, name in wrong}.isdisjoint({"gateway", "workers", "stores"}), wrong


def test_no_module_is_named_for_nothing() -> None:
    wrong = [path for package in ALLOWED for path in modules(package) if path.stem in FORBIDDEN_NAMES]

    assert not wrong


@pytest.mark.parametrize("client", ["AIOKafkaConsumer", "AIOKafkaAdminClient", "AIOKafkaClient", "AIOKafkaProducer"])
def test_clients_of_kafka_are_made_in_one_place_with_the_options_of_all(client: str) -> None:
    made = {path for package in ALLOWED for path in modules(package) if f"{client}(" in path.read_text()}

    assert made <= {ROOT / "producers" / "kafka_client.py"}


@pytest.mark.parametrize("package", ALLOWED)
def test_nothing_reaches_outside_when_a_module_is_imported(package: str) -> None:
    wrong = []
    for path in modules(package):
        for statement in parsed(path).body:
            if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
                continue
            function = statement.value.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in OUTSIDE:
                wrong.append((path.name, name))

    assert not wrong


@pytest.mark.parametrize(
    "module",
    [
        "gateway.main",
        "workers.router.main",
        "workers.sink.main",
        "workers.notifier.main",
        "workers.feeder.main",
        "penstock.cli",
    ],
)
def test_a_role_that_runs_no_model_never_imports_what_runs_models(module: str) -> None:
    program = f"import sys, {module}; print(*sorted(sys.modules))"

    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert HEAVY.isdisjoint(loaded.stdout.split())


def test_the_settings_of_all_roles_which_each_of_them_looks_at_bring_nothing_that_only_others_need() -> None:
    program = "import sys, penstock.invalid_settings; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    absent = {"numpy", "asyncpg", "aiokafka", "redis", "uvicorn", "rich", "httpcore2", "aiodns", "cryptography"}
    assert absent.isdisjoint(loaded.stdout.split())
