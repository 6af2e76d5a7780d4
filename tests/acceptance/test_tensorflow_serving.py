"""TensorFlow Serving's REST API on the running stack."""

import httpx

from tests.acceptance import digits


async def test_rows_and_columns_are_answered(http: httpx.AsyncClient) -> None:
    by_row = await http.post("/v1/models/volume:predict", json={"instances": [[1, 2, 3], [4, 5, 6]]})
    assert by_row.json() == {"predictions": [6, 120]}
    by_column = await http.post("/v1/models/volume/versions/1:predict", json={"inputs": {"edges": [[1, 2, 3]]}})
    assert by_column.json() == {"outputs": [6]}
    several = {"instances": [{"ticket": 7, "turns": 1}, {"ticket": 8, "turns": 1}]}
    assert (await http.post("/v1/models/tickets:predict", json=several)).json() == {"predictions": [7, 8]}
    images = digits.images(3)
    rows = (await http.post("/v1/models/digits:predict", json={"instances": images.tolist()})).json()["predictions"]
    assert [row["label"] for row in rows] == digits.labels(images)
    assert (await http.post("/v1/models/echo:predict", json={"instances": ["größe"]})).json() == {
        "predictions": ["größe"]
    }


async def test_a_model_that_is_not_there_is_told_in_its_words(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/models/half:predict", json={"instances": [1.0]})
    assert (answer.status_code, answer.json()) == (404, {"error": "Servable not found for request: Latest(half)"})
