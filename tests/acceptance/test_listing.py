"""Lists of jobs, page by page, and what the catalog shows of models."""

from datetime import datetime

import httpx

from tests.acceptance import digits, jobs


async def test_a_list_is_read_page_by_page_without_gaps(http: httpx.AsyncClient) -> None:
    # Given seven jobs
    request = digits.request(digits.images(1))
    ids = [jobs.accepted(await http.post("/v1/models/digits/jobs", json=request))["id"] for _ in range(7)]
    # When they are listed three at a time
    pages: list[list[str]] = []
    after: dict[str, str] = {}
    for _ in range(3):
        page = (await http.get("/v1/jobs", params={"limit": 3, **after})).json()
        assert page.keys() == {"object", "data", "has_more", "next_after"}
        assert page["object"] == "list"
        pages.append([job["id"] for job in page["data"]])
        after = {"after": pages[-1][-1]}
    # Then they come newest first, each once
    assert [len(page) for page in pages[:2]] == [3, 3]
    assert [*pages[0], *pages[1], *pages[2]][:7] == ids[::-1]


async def test_the_last_page_says_so(http: httpx.AsyncClient) -> None:
    after: dict[str, str] = {}
    seen: list[tuple[datetime, str]] = []
    more = True
    while more:
        page = (await http.get("/v1/jobs", params={"limit": 100, **after})).json()
        seen += [(datetime.fromisoformat(job["created_at"]), job["id"]) for job in page["data"]]
        more = page["has_more"]
        after = {"after": seen[-1][1]} if seen else {}
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen, reverse=True)


async def test_a_list_may_be_of_one_state_only(http: httpx.AsyncClient, parked: str) -> None:
    waiting = jobs.accepted(await http.post(f"/v1/models/{parked}/jobs", json={"instances": ["a"]}))
    gone = jobs.accepted(await http.post(f"/v1/models/{parked}/jobs", json={"instances": ["b"]}))
    await http.post(f"/v1/jobs/{gone['id']}/cancel")
    for status, job in (("queued", waiting), ("canceled", gone)):
        page = (await http.get("/v1/jobs", params={"status": status, "limit": 100})).json()
        assert {listed["status"] for listed in page["data"]} == {status}
        assert job["id"] in [listed["id"] for listed in page["data"]]


async def test_a_list_refuses_what_it_cannot_do(http: httpx.AsyncClient) -> None:
    for params, name in (({"limit": "0"}, "limit"), ({"limit": "many"}, "limit"), ({"status": "lost"}, "status")):
        assert jobs.problem(await http.get("/v1/jobs", params=params), 400)["param"] == name
    assert jobs.problem(await http.get("/v1/jobs", params={"after": "a b"}), 400)["param"] == "after"
    assert jobs.problem(await http.get("/v1/jobs", params={"after": "job_none"}), 404)["param"] == "after"


async def test_models_are_listed_with_their_versions(http: httpx.AsyncClient) -> None:
    listed = (await http.get("/v1/models")).json()
    models = {model["id"]: model for model in listed["data"]}
    assert {"digits", "volume", "echo", "tickets"} <= models.keys()
    assert models["digits"]["versions"] == ["1", "2"]
    assert models["digits"]["default_version"] == "2"
    assert (await http.get("/v1/models/digits")).json() == models["digits"]


async def test_a_version_shows_what_it_takes_and_how_good_it_is(http: httpx.AsyncClient) -> None:
    version = (await http.get("/v1/models/digits/versions/2")).json()
    (image,) = version["inputs"]
    assert (image["name"], image["datatype"], image["shape"]) == ("image", "FP32", [-1, 8, 8])
    assert version["metrics"]["test_accuracy"] > 0.98
    assert version["platform"] == "onnxruntime_onnx"
    assert version["default"] is True
    for path in ("/v1/models/none", "/v1/models/digits/versions/9"):
        assert jobs.problem(await http.get(path), 404)["code"] == "model_not_found"
