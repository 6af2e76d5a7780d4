"""What nobody can take is refused by the check itself, with the field and the rule."""

import pytest

from schemas.errors import RequestError
from schemas.jobs import Payload
from tests.malformed import INPUTS, SIGNATURES
from tests.unit.schemas.reading import checked


@pytest.mark.parametrize("case", INPUTS)
def test_it_is_refused_with_its_field_and_its_rule(case: str) -> None:
    sent, refusal = INPUTS[case]
    with pytest.raises(RequestError) as caught:
        checked(SIGNATURES[sent.model], Payload(sent.value, sent.content_type, sent.json_length))
    assert (caught.value.status, caught.value.param) == (refusal.status, refusal.param)
    assert refusal.words in caught.value.message
