"""Which tests stay together where several processes share them: those of a file, and those that share a whole stack or
a service that few others need. What they share ends with them: nothing runs for nobody."""

import pytest
from xdist.scheduler import LoadScopeScheduling

FOLDERS = ("tests/acceptance/chaos/", "tests/acceptance/", "tests/contracts/queue/", "tests/contracts/stores/")
# Each of its files starts what it needs.
ALONE = "tests/acceptance/alone/"


class Sharing(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """In the order of the files: what takes long comes first, and small pieces even it out in the end."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith(ALONE):
            return file
        return next((folder for folder in FOLDERS if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Sharing:
    return Sharing(config, log)
