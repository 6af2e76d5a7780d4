"""A second run over the data directory of the first, which was killed in the middle of its work."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.acceptance import digits, jobs
from tests.acceptance.chaos.audit import audit
from tests.acceptance.chaos.load import Load
from tests.acceptance.client import client_of
from tests.acceptance.opening import heard, opened
from tests.acceptance.repository import MANY_TURNS
from tests.integration.embedded.up_process import running_up, runs
from tests.services import SOURCES, service_source
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(
    service_source() is not SOURCES["embedded"], reason="only services of our own have a data directory"
)

# The second run's worker waits until the broker misses the first's.
QUICK = {"PENSTOCK_KAFKA_SESSION_TIMEOUT_S": "6"}


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Where the account that Postgres runs as may pass, also when we are root."""
    with tempfile.TemporaryDirectory(prefix="penstock-test-") as top:
        Path(top).chmod(0o711)
        yield Path(top, "data")


async def test_jobs_of_a_run_that_was_killed_finish_in_the_next(tmp_path: Path, models: Path, data_dir: Path) -> None:
    # Given a run with one job that is done, and others that are not
    rows = digits.images(1)
    options = ("--port", "0", "--data-dir", str(data_dir), "--models", str(models))
    with running_up(tmp_path, *options, variables=QUICK) as first:
        url = await first.ready()
        async with client_of(url) as http:
            done = await jobs.succeeded(
                http, jobs.accepted(await http.post("/v1/models/digits/jobs", json=digits.request(rows)))["id"]
            )
            load = Load(http, turns=MANY_TURNS)
            await load.submit(24)
        # When all of it is killed
        family = first.family()
        first.send(SIGKILL)
        await eventually(lambda: not any(map(runs, family)), 30, "every process has ended")
    # Then the next run over the same directory knows what was done, and does the rest
    second = heard(data_dir, models=models, environ=os.environ | QUICK)
    async with opened(second), client_of(second.gateway_url) as http:
        again = await jobs.read(http, done["id"])
        assert {name: again[name] for name in again if name != "urls"} == {
            name: done[name] for name in done if name != "urls"
        }
        found = await audit(second, http, load)
        assert found.jobs == 24
