import pytest

from gateway.negotiation import wants_binary
from schemas.errors import NotAcceptable


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/*",
        "application/json, application/octet-stream",
        "text/html, */*;q=0.1",
    ],
)
def test_json_is_what_most_clients_get(accept: str) -> None:
    assert not wants_binary(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "application/octet-stream",
        "Application/Octet-Stream; q=0.9",
        "application/octet-stream, */*;q=0.1",
        "application/json;q=0.5, application/octet-stream",
        "application/*, application/json;q=0",
    ],
)
def test_raw_tensors_are_for_those_who_prefer_them(accept: str) -> None:
    assert wants_binary(accept)


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/json;q=0", "*/*;q=0", "application/json;q=x"])
def test_a_client_that_takes_neither_is_told_what_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="application/json or application/octet-stream"):
        wants_binary(accept)
