import httpx
import pytest

from producers.catalog import Catalog
from schemas.errors import QueueUnavailable
from schemas.model_states import ModelState, WantedState, decode_state
from tests.unit.gateway.house import BASE_URL, INPUT, NOW, House, opened, problem

DIGITS_1 = "/v1/models/digits/versions/1"


def apply_written(house: House) -> None:
    """Let the gateway read what it has written, as it does from Kafka."""
    topics = house.settings.topics
    for record in house.log.records(topics.model_states):
        assert record.key is not None
        house.states.apply(record.key, record.value)
    for record in house.log.records(topics.catalog):
        assert record.key is not None
        house.catalog.apply(record.key, record.value)


@pytest.mark.parametrize("state", list(ModelState))
async def test_what_is_wanted_is_written_down_and_told(
    house: House, client: httpx.AsyncClient, state: ModelState
) -> None:
    answer = await client.post(f"{DIGITS_1}:{'load' if state is ModelState.LOADED else 'unload'}")

    assert answer.status_code == 202
    assert answer.headers["location"] == f"{BASE_URL}{DIGITS_1}"
    assert answer.json() == {
        "id": "digits/1",
        "object": "model_version_state",
        "model": "digits",
        "version": "1",
        "state": state,
        "requested_at": "2026-01-02T03:04:05.678901Z",
        "announced": True,
        "url": f"{BASE_URL}{DIGITS_1}",
    }
    (record,) = house.log.records(house.settings.topics.model_states)
    assert (record.key, record.partition) == (b"digits/1", 0)
    assert decode_state(record.value or b"") == WantedState(state, NOW)


async def test_an_unloaded_version_takes_no_jobs_and_the_default_moves_on(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.post(f"{DIGITS_1}:unload")
    apply_written(house)

    problem(await client.get(DIGITS_1), 404, "model_not_found", "version")
    problem(await client.post(f"{DIGITS_1}/jobs", json=INPUT), 404, "model_not_found", "version")
    assert (await client.get("/v1/models/digits")).json()["default_version"] == "2"


async def test_unloading_twice_is_unloading(house: House, client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{DIGITS_1}:unload")).json()["announced"]
    apply_written(house)
    again = await client.post(f"{DIGITS_1}:unload")
    assert (again.status_code, again.json()["announced"]) == (202, False)


async def test_what_no_worker_has_announced_may_be_loaded_and_not_unloaded(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/models/digits/versions/9:load")
    assert (answer.status_code, answer.json()["announced"]) == (202, False)

    missing = problem(await client.post("/v1/models/digits/versions/9:unload"), 404, "model_not_found", "version")
    assert "1, 2" in missing["detail"]
    problem(await client.post("/v1/models/nope/versions/1:unload"), 404, "model_not_found", "model")


@pytest.mark.parametrize(("path", "param"), [("No_Name/versions/1", "model"), ("digits/versions/_", "version")])
async def test_what_can_be_no_version_is_not_found(client: httpx.AsyncClient, path: str, param: str) -> None:
    for verb in ("load", "unload"):
        problem(await client.post(f"/v1/models/{path}:{verb}"), 404, "model_not_found", param)


async def test_other_methods_and_verbs_are_refused(client: httpx.AsyncClient) -> None:
    for verb in ("load", "unload"):
        answer = await client.get(f"{DIGITS_1}:{verb}")
        problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"
    problem(await client.post(f"{DIGITS_1}:reload"), 404, "not_found")
    assert (await client.post(DIGITS_1)).headers["allow"] == "GET, HEAD"


async def test_before_any_worker_has_come_a_submit_is_to_be_repeated() -> None:
    async with opened(House(catalog=Catalog())) as client:
        answer = await client.post(f"{DIGITS_1}/jobs", json=INPUT)
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "2"


async def test_without_kafka_nothing_is_promised(house: House, client: httpx.AsyncClient) -> None:
    house.log.fail_next = [QueueUnavailable("gone")]
    problem(await client.post(f"{DIGITS_1}:load"), 503, "queue_unavailable")

    house.log.fail_next = [None, QueueUnavailable("gone")]  # the state is written, the catalog is not
    problem(await client.post(f"{DIGITS_1}:unload"), 503, "queue_unavailable")
    assert (await client.post(f"{DIGITS_1}:unload")).status_code == 202
