"""What is written on the command line of a route: shares, labels, pins. Each raises `BadParameter`."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

import click

from penstock.documents import Document
from penstock.parameters import TEXT
from schemas.names import is_version
from schemas.routes import WHOLE

PERCENT: Final = Decimal(100)


class Assigned(click.ParamType):
    """`NAME=VALUE`, the value behind the last of several equals signs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, given = TEXT.convert(value, param, ctx).rpartition("=")
        if not equals or not name:
            self.fail(f"{value!r} must be {self.name}", param, ctx)
        return name, given


def shares_of(given: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Versions and their shares in basis points, from percents; all of them together are 100 %."""
    shares = {}
    for version, percent in given:
        _check_version(version, "SHARES")
        if version in shares:
            _refuse(f"version {version} is given twice", "SHARES")
        shares[version] = _hundredths(percent, f"{version}={percent}", "SHARES")
    if sum(shares.values()) != WHOLE:
        _refuse(f"the shares are {percent_text(sum(shares.values()))} together, not 100 %", "SHARES")
    return shares


def labels_of(given: Sequence[tuple[str, str]], before: dict[str, str]) -> dict[str, str]:
    """The labels as they were, with those that are given; one without a version is taken away."""
    for _, version in given:
        if version:
            _check_version(version, "--label")
    return {label: version for label, version in (before | dict(given)).items() if version}


def pins_of(given: Sequence[tuple[str, str]]) -> list[Document]:
    pins = []
    for name, version in given:
        kind, colon, value = name.partition(":")
        if kind not in {"tenant", "key"} or not colon or not value:
            _refuse(f"{name}={version} must be tenant:NAME=VERSION or key:KEY=VERSION", "--pin")
        _check_version(version, "--pin")
        pins.append({kind: value, "version": version})
    return pins


def shadows_of(given: Sequence[tuple[str, str]]) -> list[Document]:
    """Versions that run copies, and the share of the jobs, 0 to 1, or in percent with the sign."""
    shadows = []
    for version, share in given:
        _check_version(version, "--shadow")
        number = _number(share)
        if number is not None and share.endswith("%"):
            number /= PERCENT
        if number is None or not 0 <= number <= 1:
            _refuse(f"{version}={share}: the share of the jobs that is copied is 0 to 1, as 0.05 or 5%", "--shadow")
        shadows.append({"version": version, "rate": float(number)})
    return shadows


def percent_text(basis_points: int) -> str:
    """`90 %`, `0.05 %`: as short as it is exact."""
    whole, rest = divmod(basis_points, WHOLE // 100)
    return f"{whole}.{rest:02}".rstrip("0").rstrip(".") + " %" if rest else f"{whole} %"


def _hundredths(percent: str, shown: str, option: str) -> int:
    number = _number(percent)
    if number is None or not 0 <= number <= PERCENT or number * 100 != int(number * 100):
        _refuse(f"{shown}: a share is a number of percent, 0 to 100, with at most two decimals", option)
    return int(number * 100)


def _number(percent: str) -> Decimal | None:
    try:
        number = Decimal(percent.removesuffix("%").strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _check_version(version: str, option: str) -> None:
    if not is_version(version):
        _refuse(f"{version!r} is no version: small letters, digits, . and -", option)


def _refuse(message: str, option: str) -> NoReturn:
    raise click.BadParameter(message, param_hint=option)
