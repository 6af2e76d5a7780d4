"""Where a stack is reached that is not open yet."""

from pathlib import Path

import pytest

from penstock.stack import Stack


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("10.1.2.3", "http://10.1.2.3:8080"),
    ],
)
def test_the_gateway_is_reached_where_it_listens(host: str, url: str) -> None:
    stack = Stack(None, models=Path("models"), port=8080, environ={"PENSTOCK_GATEWAY_HOST": host})
    assert stack.gateway_url == url


def test_clients_are_told_the_port_that_all_gateways_share() -> None:
    assert Stack(None, models=Path("models"), port=8080, gateways=3).gateway_url == "http://127.0.0.1:8080"


def test_a_role_that_is_not_there_is_no_part() -> None:
    stack = Stack(None, models=Path("models"))
    with pytest.raises(KeyError):
        stack.role("worker")
