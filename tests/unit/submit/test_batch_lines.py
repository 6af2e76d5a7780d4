"""Lines of a user's file as lines of a batch."""

import json

import pytest

from penstock.batch.lines import asked_url, is_endpoint, numbered, wrapped
from schemas.errors import RequestError

URL = "/v1/models/iris/jobs"


def test_blank_lines_are_left_out_and_counted_and_a_mark_before_the_first_is_none_of_it() -> None:
    lines = [b"\xef\xbb\xbf\n", b"\n", b'{"instances": [1]}\n', b" \n", b'{"instances": [2]}']
    assert [number for number, _ in numbered(lines)] == [3, 5]
    made = [json.loads(line) for line in wrapped([b'\xef\xbb\xbf{"instances": [1]}\n', b"\n", b"[2]"], URL)]
    assert [(line["custom_id"], line["body"]) for line in made] == [("line-1", {"instances": [1]}), ("line-3", [2])]


def test_what_is_no_json_is_told_by_the_number_of_its_line() -> None:
    with pytest.raises(RequestError, match="line 3 is not valid JSON"):
        list(wrapped([b"\n", b"1\n", b"{\n"], URL))
    with pytest.raises(RequestError, match="line 7 is not valid JSON"):
        asked_url(7, b"{")
    with pytest.raises(RequestError, match="line 7 is no request"):
        asked_url(7, b"[]")


@pytest.mark.parametrize(
    ("url", "may"),
    [
        (URL, True),
        ("/v1/models/iris/versions/2/jobs", True),
        ("/v1/jobs", True),
        ("/v1/embeddings", True),
        ("/v1/chat/completions", False),
        ("/v1/models/Iris/jobs", False),
        ("/v1/models//jobs", False),
    ],
)
def test_a_batch_asks_what_an_endpoint_is(url: str, may: bool) -> None:
    assert is_endpoint(url) is may
