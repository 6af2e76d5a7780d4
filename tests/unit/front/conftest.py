import httpx
import pytest
from click.testing import CliRunner, Result

from penstock.cli import main
from tests.unit.front.answering import URL, Gateway, Invoke


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    fake = Gateway()

    def clients_for(_: str, connections: int, number: int = 1) -> list[httpx.AsyncClient]:
        return [httpx.AsyncClient(transport=httpx.MockTransport(fake.answer))]

    monkeypatch.setattr("penstock.gateway_client.clients_for", clients_for)
    monkeypatch.setattr("penstock.status.reading.clients_for", clients_for)
    return fake


@pytest.fixture
def invoke(gateway: Gateway) -> Invoke:
    def invoked(*arguments: str, given: bytes = b"") -> Result:
        return CliRunner(env={"PENSTOCK_GATEWAY_URL": URL}).invoke(main, [str(each) for each in arguments], input=given)

    return invoked
