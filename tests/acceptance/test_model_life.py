"""A model that comes while everything runs, is unloaded and loaded over HTTP, and goes again."""

import shutil
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.jobs import accepted, output, problem, succeeded
from tests.acceptance.repository import ECHO, echo, write_model
from tests.waiting import eventually

MODEL = "visitor"
VERSION = f"/v1/models/{MODEL}/versions/1"
INPUT = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"]}]}


async def status_is(http: httpx.AsyncClient, status: int) -> None:
    async def answered() -> bool:
        return (await http.get(VERSION)).status_code == status

    await eventually(answered, 30, f"{VERSION} is answered with {status}")


async def submitted(http: httpx.AsyncClient) -> str:
    job_id: str = accepted(await http.post(f"/v1/models/{MODEL}/jobs", json=INPUT))["id"]
    return job_id


async def greeting(http: httpx.AsyncClient, job_id: str) -> list[Any]:
    values: list[Any] = output(await succeeded(http, job_id), "echo")["data"]
    return values


async def test_a_model_comes_is_unloaded_and_loaded_and_goes(http: httpx.AsyncClient, models: Path) -> None:
    # Given a stack that does not know the model
    problem(await http.post(f"/v1/models/{MODEL}/jobs", json=INPUT), 404)

    # When it is put into the repository, it is served without a restart
    write_model(models / MODEL, ECHO.format(name=MODEL), echo())
    await status_is(http, 200)
    assert await greeting(http, await submitted(http)) == ["hello"]

    # When it is unloaded, it takes no jobs
    answer = await http.post(f"{VERSION}:unload")
    assert (answer.status_code, answer.json()["state"]) == (202, "unloaded")
    assert answer.headers["location"].endswith(VERSION)
    await status_is(http, 404)
    assert problem(await http.post(f"/v1/models/{MODEL}/jobs", json=INPUT), 404)["code"] == "model_not_found"

    # When it is loaded again, it does
    answer = await http.post(f"{VERSION}:load")
    assert (answer.status_code, answer.json()["state"]) == (202, "loaded")
    await status_is(http, 200)
    assert await greeting(http, await submitted(http)) == ["hello"]

    # When it goes from the repository, jobs wait for it; and when it is unloaded for good, the catalog forgets it
    shutil.rmtree(models / MODEL)
    await http.post(f"{VERSION}:unload")
    await status_is(http, 404)


async def test_what_nobody_has_heard_of_may_be_loaded_and_not_unloaded(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/models/nobody/versions/7:load")
    assert (answer.status_code, answer.json()["announced"]) == (202, False)
    assert problem(await http.post("/v1/models/nobody/versions/8:unload"), 404)["code"] == "model_not_found"
    assert (await http.get("/v1/models/nobody/versions/7:load")).headers["allow"] == "POST"
