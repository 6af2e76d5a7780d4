import pytest

from gateway.multipart import FilePart, single_file
from schemas.errors import InvalidInput

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"
FORM = b"multipart/form-data; boundary=edge"


def part(
    content: bytes, disposition: str = 'form-data; name="image"; filename="a.png"', kind: str = "image/png"
) -> bytes:
    head = f"--edge\r\nContent-Disposition: {disposition}\r\n" + (f"Content-Type: {kind}\r\n" if kind else "") + "\r\n"
    return head.encode() + content + b"\r\n"


END = b"--edge--\r\n"


def test_the_file_of_a_form_is_taken_with_its_type() -> None:
    assert single_file(FORM, part(PNG) + END) == FilePart("image/png", PNG)


@pytest.mark.parametrize(("content", "kind"), [(PNG, "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"text", "")])
def test_a_file_without_a_type_is_known_by_its_first_bytes(content: bytes, kind: str) -> None:
    assert single_file(FORM, part(content, kind="") + END).content_type == kind


def test_an_unhelpful_type_is_looked_behind() -> None:
    assert single_file(FORM, part(PNG, kind="application/octet-stream") + END).content_type == "image/png"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"multipart/form-data", part(PNG) + END),
        (b"multipart/form-data; boundary=" + b"x" * 71, part(PNG) + END),
        (FORM, b""),
        (FORM, b"no form at all"),
        (FORM, END),
        (FORM, part(PNG)),
        (FORM, part(PNG) + b"--ed"),
        (FORM, part(PNG, disposition='form-data; name="lane"') + END),
        (FORM, part(PNG, disposition="attachment") + END),
        (FORM, part(PNG) + part(PNG) + END),
        (FORM, b"--edge\r\n" + b"X: y\r\n" * 100 + b"\r\n" + PNG + b"\r\n" + END),
        (FORM, b"--edge\r\nX: " + b"y" * 10_000 + b"\r\n\r\n" + PNG + b"\r\n" + END),
        (FORM, b"--edge\r\nbad header\r\n\r\n" + PNG + b"\r\n" + END),
    ],
)
def test_a_form_without_exactly_one_whole_file_is_refused_and_logs_nothing(
    content_type: bytes, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidInput):
        single_file(content_type, body)
    assert caplog.records == []
