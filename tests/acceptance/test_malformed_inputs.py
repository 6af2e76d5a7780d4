"""Whatever is wrong with a request, the answer names the field and the rule, and the process lives on."""

from collections.abc import Iterator

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance import jobs
from tests.malformed import INPUTS, REQUESTS, Refusal


@pytest.fixture(autouse=True, scope="module")
def _the_same_processes_after_all_of_it(stack: Stack) -> Iterator[None]:
    before = {name: role.pid for name, role in stack.roles.items()}
    yield
    assert {name: role.pid for name, role in stack.roles.items()} == before
    assert all(role.running for role in stack.roles.values())


@pytest.mark.parametrize("case", INPUTS)
async def test_an_input_is_refused_with_its_field_and_its_rule(http: httpx.AsyncClient, case: str) -> None:
    sent, refusal = INPUTS[case]
    length = {} if sent.json_length is None else {"inference-header-content-length": str(sent.json_length)}
    headers = {"content-type": sent.content_type, **length}
    check(await http.post(f"/v1/models/{sent.model}/jobs", content=sent.value, headers=headers), refusal)


@pytest.mark.parametrize("case", REQUESTS)
async def test_a_request_is_refused_with_its_field_and_its_rule(http: httpx.AsyncClient, case: str) -> None:
    sent, refusal = REQUESTS[case]
    check(await http.post(sent.path, content=sent.body, headers=dict(sent.headers)), refusal)


def check(answer: httpx.Response, refusal: Refusal) -> None:
    error = jobs.problem(answer, refusal.status)
    assert error["param"] == refusal.param, error
    assert refusal.words in error["message"], error
    assert "Traceback" not in answer.text
    assert "/site-packages/" not in answer.text


async def test_a_method_that_is_not_allowed_says_which_are(http: httpx.AsyncClient) -> None:
    for method, path, allowed in (
        ("DELETE", "/v1/jobs", {"GET", "HEAD", "POST"}),
        ("GET", "/v1/models/digits/jobs", {"POST"}),
        ("POST", "/v1/models", {"GET", "HEAD"}),
    ):
        answer = await http.request(method, path)
        assert jobs.problem(answer, 405)["code"] == "method_not_allowed"
        assert set(answer.headers["allow"].split(", ")) == allowed


async def test_a_path_that_is_none_is_not_found(http: httpx.AsyncClient) -> None:
    for path in ("/v1", "/v1/job", "/v1/jobs/", "/v1/models/digits/jobs/", "/admin", "/v1/models//jobs"):
        assert jobs.problem(await http.get(path), 404)["code"] == "not_found"
