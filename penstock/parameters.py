"""Names on the command line, refused before anybody is asked, and options that several commands have."""

import re
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Final

import click

from schemas.jobs import is_job_id
from schemas.names import is_model_name, is_version


class Name(click.ParamType):
    """Text that `fits`; what does not is refused as `rule` says."""

    def __init__(self, name: str, fits: Callable[[str], bool], rule: str) -> None:
        self.name = name
        self._fits = fits
        self._rule = rule

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not self._fits(value):
            self.fail(f"{value!r} {self._rule}", param, ctx)
        return str(value)


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


BATCH = Name("batch", lambda text: re.fullmatch(r"batch_[0-9a-z]{1,64}", text) is not None, "is no batch's id")
JOB = Name("job", is_job_id, "is no job id")
MODEL = Name("model", is_model_name, "is no model's name: small letters, digits and -")
VERSION = Name("version", is_version, "is no version: small letters, digits, . and -")
TEXT = Name("text", _is_utf8, "is no UTF-8")

Command = Callable[..., Any]
# What touches more than so many is asked about.
CONFIRM_ABOVE: Final = 10

LIMIT: Final = click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The newest so many."
)
NOTE: Final = click.option("--note", type=TEXT, help="Why, for the history.")


def with_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    """The command with all of them; its help shows them in this order."""
    return reduce(lambda inner, option: option(inner), reversed(options), command)


def confirm(question: str, number: int, *, yes: bool) -> None:
    """Raises `Abort` where so many would be touched, and a person says no."""
    if number > CONFIRM_ABOVE and not yes:
        click.confirm(question, abort=True, err=True)
