"""The options by which a command is told which stack it is meant for, and what they come to."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
import httpx
from click.core import ParameterSource

from penstock.errors import StackError
from penstock.running import GATEWAY_URL, Found, find
from schemas.errors import PenstockError

Command = Callable[..., Any]

DATA_DIR: Final = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Of the `penstock up` that is meant.  [default: none where variables name a stack, else that of your user]",
)


class GatewayUrl(click.ParamType):
    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_http_url(value):
            self.fail("must be http://HOST:PORT or https://HOST", param, ctx)
        return str(value)


GATEWAY: Final = click.option(
    "--gateway",
    type=GatewayUrl(),
    envvar=GATEWAY_URL,
    show_envvar=True,
    help="URL of the gateway.  [default: of the `penstock up` over --data-dir, else http://localhost:8080]",
)


def is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        well = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        return well and " " not in text and bool(httpx.URL(text).host)
    except (ValueError, httpx.InvalidURL):  # a port that is none, half an address, a name that nobody can have
        return False


def asks_gateway(command: Command) -> Command:
    """A command that gets, as `found`, the stack whose gateway it asks."""

    @DATA_DIR
    @GATEWAY
    @wraps(command)
    def finding(*args: Any, gateway: str | None, data_dir: Path | None, **options: Any) -> Any:
        named = unless_data_dir("gateway", gateway, data_dir)
        return command(*args, found=gateway_named(named) if named else found_by(data_dir, GATEWAY_URL), **options)

    return finding


def finds(variable: str) -> Callable[[Command], Command]:
    """A command that gets, as `found`, the stack whose service it uses; `variable` holds the service's address."""

    def decorated(command: Command) -> Command:
        @DATA_DIR
        @wraps(command)
        def finding(*args: Any, data_dir: Path | None, **options: Any) -> Any:
            return command(*args, found=found_by(data_dir, variable), **options)

        return finding

    return decorated


def unless_data_dir(option: str, value: str | None, data_dir: Path | None) -> str | None:
    """What the option says; nothing where it is a variable that says so, and --data-dir is given. Raises `UsageError`
    where both are options."""
    if value is None or data_dir is None:
        return value
    if click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"--{option} and --data-dir both say where to go: give one")
    return None


def gateway_named(url: str) -> Found:
    source = click.get_current_context().get_parameter_source("gateway")
    name = "--gateway" if source is ParameterSource.COMMANDLINE else GATEWAY_URL
    return Found(environ={**os.environ, GATEWAY_URL: url}, origin=f"; it is what {name} names")


def found_by(data_dir: Path | None, *variables: str) -> Found:
    """Raises `ClickException` where nothing runs over `data_dir`."""
    try:
        return find(data_dir, variables, os.environ)
    except StackError as error:
        raise click.ClickException(str(error)) from error


def refused(error: PenstockError, origin: str = "") -> click.ClickException:
    """The error in a line, with the field that it is about. `origin`: where the address comes from."""
    field = f" ({error.param})" if error.param and error.param not in error.message else ""
    return click.ClickException(" ".join(f"{error.message}{field}{origin}".split()))
