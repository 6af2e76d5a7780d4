"""What a store can hold."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some

from schemas.errors import InvalidInput
from stores.validation import metadata_json, storable

texts = some.text(some.characters(exclude_categories=["Cs"]))
scalars = some.none() | some.booleans() | some.integers(-(2**63), 2**64 - 1) | texts
numbers = some.floats(allow_nan=False, allow_infinity=False)
json_values = some.recursive(scalars | numbers, lambda inner: some.lists(inner) | some.dictionaries(texts, inner))


@pytest.mark.parametrize("text", ["", "plain", "čeština", "🙂", "\x01\x7f", None])
def test_nearly_every_text_can_be_stored(text: str | None) -> None:
    assert storable(text)


@pytest.mark.parametrize("text", ["\0", "a\0", "\ud800", "é\udfff"])
def test_one_bad_text_among_good_ones_is_found(text: str) -> None:
    assert not storable("good", None, text, "good")


@given(some.text(alphabet=some.characters()))
def test_storable_text_is_utf_8_without_nul(text: str) -> None:
    try:
        sound = b"\0" not in text.encode()
    except UnicodeEncodeError:
        sound = False
    assert storable(text) == sound


@given(json_values)
def test_metadata_becomes_the_json_that_means_it(value: object) -> None:
    assert orjson.loads(metadata_json({"value": value})) == {"value": value}


def test_metadata_that_json_cannot_say_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput) as refused:
        metadata_json({"n": 2**64})
    assert refused.value.param == "metadata"
