import socket
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from deploy.healthcheck import port, ready


class Role(BaseHTTPRequestHandler):
    status = 200
    asked: str = ""

    def do_GET(self) -> None:
        Role.asked = self.path
        self.send_response(Role.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def role_port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Role) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_a_container_is_healthy_when_its_role_is_ready(role_port: int, status: int, healthy: bool) -> None:
    Role.status = status

    assert ready(role_port) is healthy
    assert Role.asked == "/readyz"


def test_a_role_that_does_not_answer_is_not_ready() -> None:
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert not ready(nobody.getsockname()[1])


def test_the_gateway_is_asked_on_its_own_port_and_others_on_the_health_port() -> None:
    assert port({"PENSTOCK_GATEWAY_PORT": "8080", "PENSTOCK_HEALTH_PORT": "1"}) == 8080
    assert port({"PENSTOCK_HEALTH_PORT": "9000"}) == 9000
    assert port({}) == 9464
