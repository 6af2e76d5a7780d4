"""How long a job is kept, from where it is said to the job that the router makes."""

import json
from pathlib import Path
from typing import Any

import pytest

from producers.bulk.lines import LineDefaults, read_line
from producers.bulk.requests import request_record
from producers.catalog import Catalog
from schemas.catalog import encode_entry
from schemas.jobs import Job, new_job_id
from schemas.versions import CatalogSnapshot
from tests.unit.models.repositories import fields, installed, write_model
from tests.unit.router.requests import CATALOG, NOW, TOPICS, record
from tests.unit.schemas.reading import no_limit
from workers.inference.lifecycle.announce import entry_of
from workers.inference.models.repository import ModelRepository
from workers.router.routing import Refused, Routed, route
from workers.router.submission import Limits

LINE = {"model": "vector", "input": {"instances": [[1, 2]]}}


def announced(root: Path, **more: Any) -> CatalogSnapshot:
    """The catalog of a repository with one model, as everybody reads it from its topic."""
    write_model(root, fields(input=[{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}], **more))
    catalog = Catalog()
    for version in ModelRepository(root, installed("onnxruntime")).scan():
        entry = entry_of(version, lambda: NOW)
        catalog.apply(entry.key, encode_entry(entry))
    return catalog.snapshot


def asked(line: dict[str, Any], catalog: CatalogSnapshot = CATALOG) -> Routed | Refused:
    """What the router makes of a line of a file that `penstock submit` writes to the requests topic."""
    read = read_line(1, json.dumps(line).encode(), LineDefaults())
    out = request_record(TOPICS.requests, new_job_id(), read, NOW, "/penstock/submit")
    decision = route(
        record(out.value, *((name, value) for name, value in out.headers)), catalog, {}, TOPICS, Limits(), NOW, no_limit
    )
    assert isinstance(decision, Routed | Refused)
    return decision


def job(line: dict[str, Any], catalog: CatalogSnapshot = CATALOG) -> Job:
    decision = asked(line, catalog)
    assert isinstance(decision, Routed), decision
    return decision.job


def test_a_job_is_kept_for_as_long_as_the_model_yaml_of_its_model_says(tmp_path: Path) -> None:
    catalog = announced(tmp_path, retention_s=86_400)
    line = LINE | {"model": "digits"}
    assert job(line, catalog).retention_s == 86_400
    assert job(line | {"retention_s": 60}, catalog).retention_s == 60, "the job itself comes first"


def test_a_model_that_says_nothing_leaves_it_to_the_default(tmp_path: Path) -> None:
    assert job(LINE | {"model": "digits"}, announced(tmp_path)).retention_s is None


def test_a_line_says_it_to_the_gateway_too() -> None:
    line = read_line(1, json.dumps(LINE | {"retention_s": 3600}).encode(), LineDefaults())
    assert json.loads(line.envelope())["retention_s"] == 3600


@pytest.mark.parametrize("retention_s", [59, 30 * 86_400 + 1, 60.5, "long"])
def test_a_line_that_says_what_may_not_be_said_is_refused(retention_s: object) -> None:
    decision = asked(LINE | {"retention_s": retention_s})
    assert isinstance(decision, Refused)
    assert decision.terminal.error is not None
    assert decision.terminal.error.param == "retention_s"
