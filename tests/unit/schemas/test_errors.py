"""The error tree: what its docstring draws is what there is."""

import importlib
import re
from collections.abc import Iterator

import pytest

import schemas.errors
from schemas.errors import InvalidInput, JobError, MethodNotAllowed, PenstockError

# Modules that may define errors of their own; they must be in the tree too.
PACKAGES = (
    "schemas.errors",
    "schemas.versions",
    "schemas.inputs",
    "schemas.records",
    "stores.protocols",
    "producers.protocols",
)

OURS = ("schemas", "runtime", "stores", "producers", "gateway", "workers", "penstock")

_LINE = re.compile(r"^(?P<branch>[ │├└─]*)(?P<name>[A-Z]\w+) +(?P<status>\d{3})  (?P<code>[a-z_]+)", re.MULTILINE)


def subclasses(root: type[PenstockError]) -> Iterator[type[PenstockError]]:
    for child in root.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.fixture(scope="module")
def errors() -> list[type[PenstockError]]:
    for package in PACKAGES:
        importlib.import_module(package)
    every: list[type[PenstockError]] = [PenstockError, *subclasses(PenstockError)]
    # A model's handler may make errors of its own of ours, as those of some tests do.
    return [error for error in every if error.__module__.split(".")[0] in OURS]


def drawn() -> dict[str, tuple[str, int, str]]:
    """Name -> (parent, status, code), read off the docstring's tree."""
    path: list[str] = []
    lines = {}
    for match in _LINE.finditer(schemas.errors.__doc__ or ""):
        depth = (len(match["branch"]) - 4) // 4
        path[depth:] = [match["name"]]
        lines[match["name"]] = (path[depth - 1] if depth else "", int(match["status"]), match["code"])
    return lines


def test_the_tree_in_the_docstring_is_the_tree_of_classes(errors: list[type[PenstockError]]) -> None:
    assert drawn() == {
        error.__name__: ("" if error is PenstockError else error.__mro__[1].__name__, error.status, error.code)
        for error in errors
    }


def test_every_class_has_a_code_of_its_own(errors: list[type[PenstockError]]) -> None:
    codes = [error.code for error in errors]
    assert len(set(codes)) == len(codes)


def test_no_error_of_ours_stands_outside_the_tree(errors: list[type[PenstockError]]) -> None:
    assert {error.__module__ for error in errors} == {"schemas.errors"}


def test_what_a_client_sees_holds_code_message_type_and_field() -> None:
    body = InvalidInput("rows differ", param="inputs").body()
    assert (body.code, body.message, body.type, body.param) == (
        "invalid_input",
        "rows differ",
        "invalid_request_error",
        "inputs",
    )


def test_what_a_retry_can_mend_is_the_servers_to_mend(errors: list[type[PenstockError]]) -> None:
    # A job's own are the worker's to try again: a client never meets one that is not final.
    asked_again = [error for error in errors if error.retryable and not issubclass(error, JobError)]
    assert {error.status for error in asked_again} <= {408, 409, 429, 503}


def test_a_refused_method_names_those_that_are_allowed() -> None:
    assert MethodNotAllowed("no", allow="GET, POST").allow == "GET, POST"
