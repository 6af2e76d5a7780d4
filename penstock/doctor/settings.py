"""The PENSTOCK_* variables: those that nobody reads, and those that a role would refuse."""

from collections.abc import Mapping

from penstock.doctor.findings import Finding, Level, Tell
from penstock.invalid_settings import invalid_settings, unknown_variables
from runtime.settings import PREFIX

SUBJECT = "settings"


class SettingsCheck:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    async def __call__(self, tell: Tell) -> None:
        unknown = [line for _, line in unknown_variables(self._environ)]
        invalid = invalid_settings(self._environ)
        for line in unknown:
            tell(Finding(SUBJECT, Level.WARNING, line, "rename it, or remove it"))
        for line in invalid:
            tell(Finding(SUBJECT, Level.PROBLEM, line, "docs/configuration.md has all variables"))
        if not (unknown or invalid):
            count = sum(name.startswith(PREFIX) for name in self._environ)
            told = {0: "no variable is set", 1: "the variable that is set is known and valid"}
            tell(Finding(SUBJECT, Level.OK, told.get(count, f"{count} variables are set, and each is known and valid")))
