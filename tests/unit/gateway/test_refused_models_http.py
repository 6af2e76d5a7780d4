"""What clients are told of versions that no worker serves, and why."""

import time
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from producers.left_lately import LEFT_FOR_S
from producers.worker_reports import FORGOTTEN_AFTER_S
from schemas.catalog import encode_entry
from schemas.model_states import ModelState, WantedState, encode_state
from schemas.worker_reports import NotServed, VersionReport, WorkerReport, encode_report
from tests.unit.gateway.house import INPUT, NOW, VECTOR, House, entry, problem

MISFIT = "iris/1/model.onnx: model.yaml does not fit the graph"


def report(house: House, worker: str = "worker-1", seconds: float = 0, **versions: VersionReport) -> None:
    """Has a worker say this; `__` in a name stands for a slash."""
    named = {name.replace("__", "/"): said for name, said in versions.items()}
    house.reports.apply(worker.encode(), encode_report(WorkerReport(NOW + timedelta(seconds=seconds), named)))


def refused(reason: str) -> VersionReport:
    return VersionReport(NotServed.REFUSED, reason)


async def test_a_refused_version_is_listed_with_its_reason(house: House, client: httpx.AsyncClient) -> None:
    report(house, iris__1=refused(MISFIT), digits__3=VersionReport(NotServed.LOADING))
    models = {model["id"]: model for model in (await client.get("/v1/models")).json()["data"]}
    assert models["iris"]["versions"] == []
    assert models["iris"]["default_version"] is None
    assert models["iris"]["version_states"] == [{"version": "1", "state": "refused", "reason": MISFIT, "workers": 0}]
    states = {each["version"]: each["state"] for each in models["digits"]["version_states"]}
    assert states == {"1": "serving", "2": "serving", "3": "loading"}
    assert (await client.get("/v1/models/iris")).json() == models["iris"]


@pytest.mark.parametrize("path", ["/v1/models/iris/jobs", "/v1/models/iris/versions/1/jobs"])
async def test_a_job_for_a_refused_version_is_told_why(house: House, client: httpx.AsyncClient, path: str) -> None:
    report(house, iris__1=refused(MISFIT))
    answer = await client.post(path, json=INPUT)
    detail = problem(answer, 404, "model_not_found", "model")["detail"]
    assert detail == f"model 'iris' version '1' is in the repository and could not be loaded: {MISFIT}"


async def test_a_model_whose_file_cannot_be_read_is_told_as_a_whole(house: House, client: httpx.AsyncClient) -> None:
    report(house, iris=refused("iris/model.yaml, line 3: not closed"))
    told = problem(await client.post("/v1/models/iris/jobs", json=INPUT), 404, "model_not_found", "model")
    assert told["detail"].endswith("could not be loaded: iris/model.yaml, line 3: not closed")
    assert (await client.get("/v1/models/iris")).json()["reason"] == "iris/model.yaml, line 3: not closed"


async def test_what_is_loading_or_unloaded_is_told_so(house: House, client: httpx.AsyncClient) -> None:
    report(house, iris__1=VersionReport(NotServed.LOADING), iris__2=VersionReport(NotServed.UNLOADED))
    house.states.apply(b"iris/2", encode_state(WantedState(ModelState.UNLOADED, NOW)))
    loading = problem(await client.get("/v1/models/iris/versions/1"), 404, "model_not_found", "model")
    assert "is being loaded" in loading["detail"]
    unloaded = problem(await client.get("/v1/models/iris/versions/2"), 404, "model_not_found", "model")
    assert "POST /v1/models/iris/versions/2:load puts it back" in unloaded["detail"]
    states = (await client.get("/v1/models/iris")).json()["version_states"]
    assert [state["state"] for state in states] == ["loading", "unloaded"]


async def test_a_version_that_some_worker_serves_is_serving_whatever_others_could_not_load(
    house: House, client: httpx.AsyncClient
) -> None:
    report(house, digits__1=refused("torch is not installed"))
    document = (await client.get("/v1/models/digits/versions/1")).json()
    assert (document["state"], document["reason"]) == ("serving", "torch is not installed")


async def test_of_what_several_workers_say_the_refusal_counts(house: House, client: httpx.AsyncClient) -> None:
    report(house, "worker-1", iris__1=refused(MISFIT))
    report(house, "worker-2", iris__1=VersionReport(NotServed.LOADING))
    (state,) = (await client.get("/v1/models/iris")).json()["version_states"]
    assert state["state"] == "refused"


async def test_a_worker_that_takes_its_report_back_or_falls_silent_is_forgotten(
    house: House, client: httpx.AsyncClient
) -> None:
    report(house, "worker-1", iris__1=refused(MISFIT))
    house.reports.apply(b"worker-1", None)
    (state,) = (await client.get("/v1/models/iris")).json()["version_states"]
    assert state["state"] == "no_worker", "it starts again, perhaps"
    house.clock_s += LEFT_FOR_S
    problem(await client.get("/v1/models/iris"), 404, "model_not_found", "model")

    report(house, "worker-2", iris__1=refused(MISFIT))
    house.clock_s += FORGOTTEN_AFTER_S - 1
    report(house, "worker-2", iris__1=refused(MISFIT))  # the same record, read again
    assert (await client.get("/v1/models/iris")).status_code == 200
    house.clock_s += 2
    problem(await client.get("/v1/models/iris"), 404, "model_not_found", "model")

    report(house, "worker-2", seconds=60, iris__1=refused(MISFIT))
    assert (await client.get("/v1/models/iris")).status_code == 200


async def test_a_record_that_is_no_report_changes_nothing(house: House, client: httpx.AsyncClient) -> None:
    report(house, "worker-1", iris__1=refused(MISFIT))
    for value in (b"", b"{}", b"\xff", b'{"at": 1, "versions": {}}', b"[" * 100_000):
        house.reports.apply(b"worker-1", value)
    assert (await client.get("/v1/models/iris")).status_code == 200


async def test_a_version_whose_workers_are_gone_says_so_and_its_queued_jobs_do(
    house: House, client: httpx.AsyncClient
) -> None:
    job_id = await house.submitted(client)
    assert "notice" not in (await client.get(f"/v1/jobs/{job_id}")).json()
    house.without_worker = {("vector", "2")}
    states = (await client.get("/v1/models/vector")).json()["version_states"]
    assert [state["state"] for state in states] == ["serving", "no_worker"]

    job = await client.get(f"/v1/jobs/{job_id}")
    notice = "no worker serves vector/2 now; the job waits until one does or its deadline passes"
    assert (job.json()["status"], job.json()["notice"]) == ("queued", notice)
    assert (await client.get("/v1/jobs")).json()["data"][0]["notice"] == notice
    again = await client.get(f"/v1/jobs/{job_id}", headers={"if-none-match": job.headers["etag"]})
    assert again.status_code == 304

    await house.finish(job_id)
    assert "notice" not in (await client.get(f"/v1/jobs/{job_id}")).json()


async def test_a_queued_job_is_told_why_its_version_could_not_be_loaded(
    house: House, client: httpx.AsyncClient
) -> None:
    job_id = await house.submitted(client)
    house.without_worker = {("vector", "2")}
    report(house, vector__2=refused("vector/2: needs torch"))
    assert (
        (await client.get(f"/v1/jobs/{job_id}")).json()["notice"].endswith("could not be loaded: vector/2: needs torch")
    )


async def test_unloading_takes_the_entry_of_a_version_without_workers_away(
    house: House, client: httpx.AsyncClient
) -> None:
    house.without_worker = {("digits", "2")}
    await client.post("/v1/models/digits/versions/2:unload")
    for topic, apply in (
        (house.settings.topics.model_states, house.states.apply),
        (house.settings.topics.catalog, house.catalog.apply),
    ):
        for record in house.log.records(topic):
            apply(record.key or b"", record.value)
    document = (await client.get("/v1/models/digits")).json()
    assert document["versions"] == ["1"]
    states = {state["version"]: state["state"] for state in document["version_states"]}
    assert states == {"1": "serving", "2": "unloaded"}
    house.clock_s += LEFT_FOR_S
    document = (await client.get("/v1/models/digits")).json()
    assert [state["version"] for state in document["version_states"]] == ["1"]


async def test_a_model_that_is_unloaded_and_loaded_again_is_known_in_every_moment(
    house: House, client: httpx.AsyncClient
) -> None:
    # Given a model of one version, which its worker serves
    states, announced = house.states, encode_entry(entry("words", "1", VECTOR))
    house.catalog.apply(b"words/1", announced)
    wanted = {state: encode_state(WantedState(state, NOW)) for state in ModelState}
    unloaded, loading = VersionReport(NotServed.UNLOADED), VersionReport(NotServed.LOADING)
    steps: list[tuple[Callable[[], object], str, int]] = [
        # The catalog may be heard of before the wish
        (lambda: house.catalog.apply(b"words/1", None), "no_worker", 503),
        (lambda: states.apply(b"words/1", wanted[ModelState.UNLOADED]), "unloaded", 404),
        (lambda: report(house, seconds=1, words__1=unloaded), "unloaded", 404),
        (lambda: states.apply(b"words/1", wanted[ModelState.LOADED]), "loading", 503),
        (lambda: report(house, seconds=2, words__1=loading), "loading", 503),
        (lambda: house.reports.apply(b"worker-1", None), "loading", 503),  # it starts again
        (lambda: report(house, seconds=3, words__1=loading), "loading", 503),
        (lambda: house.catalog.apply(b"words/1", announced), "serving", 202),
        (lambda: house.reports.apply(b"worker-1", None), "serving", 202),
    ]
    for number, (step, state, submitted) in enumerate(steps):
        # When one thing after another is heard
        step()

        # Then the model is known, and who submits is told to wait, or that it was unloaded
        document = (await client.get("/v1/models/words")).json()
        assert [each["state"] for each in document["version_states"]] == [state], number
        assert "words" in {each["id"] for each in (await client.get("/v1/models")).json()["data"]}
        for path in ("words", "words/versions/1", "words/versions/latest"):
            answer = await client.post(f"/v1/models/{path}/jobs", json=INPUT)
            assert answer.status_code == submitted, (number, path, answer.text)
            assert ("retry-after" in answer.headers) == (submitted != 404)


async def test_a_list_of_many_refused_models_does_not_hold_up_others(house: House, client: httpx.AsyncClient) -> None:
    for worker in range(10):
        said = WorkerReport(NOW, {f"m{number}/1": refused(MISFIT) for number in range(1000)})
        house.reports.apply(b"worker-%d" % worker, encode_report(said))
    began_s = time.process_time()
    assert len((await client.get("/v1/models")).json()["data"]) > 1000
    assert time.process_time() - began_s < 2
