"""What a browser sends for a page of another site changes nothing; everybody else is served."""

import httpx
import pytest

from gateway.cross_site import CrossSiteCheck
from schemas.errors import CrossSite
from tests.unit.gateway.house import INPUT, SUBMIT, House, problem

# The house is known as https://inference.example.com/api, and is spoken to as http://gateway.test.
EVIL = {"origin": "http://evil.example", "content-type": "text/plain"}
Headers = dict[str, str]


@pytest.fixture
def house() -> House:
    return House(gateway_host="0.0.0.0")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/vector/versions/2:unload",
        "/v1/models/vector/versions/2:load",
        "/v1/jobs/job_1/cancel",
        "/v1/jobs",
        "/v1/models/vector/jobs",
        "/v1/whatever/comes/later",
    ],
)
@pytest.mark.parametrize("headers", [EVIL, {"origin": "null"}, {"sec-fetch-site": "cross-site"}], ids=str)
async def test_no_route_that_changes_anything_takes_a_request_from_another_site(
    house: House, client: httpx.AsyncClient, path: str, headers: Headers
) -> None:
    answer = await client.post(path, headers=headers, json=SUBMIT)
    problem(answer, 403, "cross_site", "Origin")
    assert house.log.topics == {}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no browser"),
        pytest.param({"sec-fetch-site": "same-origin", "origin": "http://gateway.test"}, id="a page of ours"),
        pytest.param({"sec-fetch-site": "none"}, id="typed by hand"),
        pytest.param({"origin": "http://gateway.test"}, id="an old browser"),
        pytest.param({"origin": "https://inference.example.com", "sec-fetch-site": "same-site"}, id="behind a proxy"),
    ],
)
async def test_everybody_else_is_served(client: httpx.AsyncClient, headers: Headers) -> None:
    assert (await client.post("/v1/models/vector/jobs", headers=headers, json=INPUT)).status_code == 202
    assert (await client.post("/v1/models/vector/versions/2:unload", headers=headers)).status_code == 202


async def test_reading_is_left_to_the_browsers_own_rules(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/models", headers=EVIL | {"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("bound", "host", "taken"),
    [
        ("127.0.0.1", "127.0.0.1:8080", True),
        ("127.0.0.1", "localhost:8080", True),
        ("::1", "[::1]:8080", True),
        ("127.0.0.1", "penstock.example:8080", True),
        ("127.0.0.1", "evil.example:8080", False),
        ("127.0.0.1", "[evil", False),
        ("127.0.0.1", "", False),
        ("0.0.0.0", "gateway.internal:8080", True),
    ],
)
@pytest.mark.parametrize("site", [b"", b"same-origin"])
def test_on_loopback_no_name_passes_for_ours_that_merely_leads_here(
    bound: str, host: str, taken: bool, site: bytes
) -> None:
    check = CrossSiteCheck("http://penstock.example:8080", bound)
    headers = {b"host": host.encode(), b"origin": f"http://{host}".encode(), b"sec-fetch-site": site}
    if taken:
        check.check(headers)
    else:
        with pytest.raises(CrossSite):
            check.check(headers)


def test_a_client_that_is_no_browser_may_use_any_name() -> None:
    CrossSiteCheck("http://localhost:8080", "127.0.0.1").check({b"host": b"gateway.internal"})
