"""The routes of tutorials on the running stack."""

import httpx

from tests.acceptance import digits


async def test_rows_are_answered_with_class_and_confidence(http: httpx.AsyncClient) -> None:
    images = digits.images(20)
    classes = [str(label) for label in digits.labels(images)]
    found = (await http.post("/predict", json={"data": images[0].tolist(), "model": "digits"})).json()
    assert (found["class"], found["model"], found["cached"]) == (classes[0], "digits", False)
    assert 0.5 < found["confidence"] <= 1
    asked = {"instances": images.tolist(), "model_name": "digits"}
    several = (await http.post("/batch_predict", json=asked)).json()
    assert [each["class"] for each in several["predictions"]] == classes


async def test_a_server_of_several_models_wants_one_named(http: httpx.AsyncClient) -> None:
    image = min(digits.IMAGES.glob("*.png")).read_bytes()
    files = {"file": ("a.png", image, "image/png")}
    for answer in (
        await http.post("/predict", json={"data": [1, 2, 3]}),
        await http.post("/predict/image", files=files),
    ):
        assert answer.status_code == 400
        assert "PENSTOCK_DEFAULT_MODEL" in answer.json()["detail"]
    assert (await http.get("/health")).json()["status"] == "healthy"
