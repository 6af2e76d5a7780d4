"""A direct producer is told the same of its input as a client of HTTP: by the end of its job."""

import pytest

from schemas.errors import PenstockError, RequestError
from schemas.jobs import Status
from schemas.versions import CatalogSnapshot
from tests.malformed import INPUTS, SIGNATURES, Sent
from tests.unit.router.requests import NOW, TOPICS, entry, record
from tests.unit.schemas.reading import no_limit
from workers.consuming.protocols import Record
from workers.router.routing import Refused, route
from workers.router.submission import Limits

CATALOG = CatalogSnapshot()
for _name, _signature in SIGNATURES.items():
    CATALOG = CATALOG.with_entry(entry(_name, "1", _signature))
KINDS: list[type[PenstockError]] = [RequestError, *RequestError.__subclasses__()]
STATUSES = {kind.code: kind.status for kind in KINDS}


def record_of(sent: Sent) -> Record:
    length = [] if sent.json_length is None else [("ce_jsonlength", str(sent.json_length))]
    headers = [("ce_model", sent.model), ("ce_id", "order-7"), ("content-type", sent.content_type), *length]
    return record(sent.value, *headers)


@pytest.mark.parametrize("case", INPUTS)
def test_its_job_fails_with_the_field_and_the_rule(case: str) -> None:
    sent, refusal = INPUTS[case]
    decision = route(record_of(sent), CATALOG, {}, TOPICS, Limits(), NOW, no_limit)
    assert isinstance(decision, Refused), decision
    end = decision.terminal
    assert (end.id, end.status, decision.unforeseen) == ("order-7", Status.FAILED, None)
    assert end.error is not None
    assert (STATUSES[end.error.code], end.error.param) == (refusal.status, refusal.param)
    assert refusal.words in end.error.message
