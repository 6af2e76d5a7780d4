import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    ("told", "kind"),
    [("image/PNG", "image/png"), ("image/jpeg; quality=1", "image/jpeg"), ("text/plain", "text/plain")],
)
def test_a_type_that_is_told_is_taken_without_its_parameters(told: str, kind: str) -> None:
    assert single_file(FORM, part(PNG, kind=told) + END).content_type == kind


@pytest.mark.parametrize(
    "content_type",
    [b'Multipart/Form-Data; charset=utf-8; boundary="edge"', b"multipart/form-data;boundary=edge; other=1"],
)
def test_a_boundary_may_stand_in_quotes_and_beside_other_parameters(content_type: bytes) -> None:
    assert single_file(content_type, part(PNG) + END).data == PNG


@pytest.mark.parametrize(
    "filename", ['filename=""', "filename=a.png", "filename*=UTF-8''%E2%82%AC.png", 'filename="C:\\\\a.png"']
)
def test_a_file_may_have_any_name(filename: str) -> None:
    assert single_file(FORM, part(PNG, disposition=f'form-data; name="image"; {filename}') + END).data == PNG


def test_what_stands_before_and_after_the_form_is_passed_over() -> None:
    assert single_file(FORM, b"a preamble\r\n" + part(PNG) + END + b"an epilogue").data == PNG


# fmt: off
PIECES = st.sampled_from([
    *(b"--edge", b"--", b"\r\n", b"\n", b"\r", b": ", b" ", b"\0", b"\xff", b"Content-Length: 3", b"Content-Type: "),
    *(b"Content-Disposition: form-data; name=a; filename=b", b'name="', b"; filename*=UTF-8''%", b"image/png"),
    *(PNG, part(PNG), END),
])
# fmt: on


@given(st.lists(PIECES | st.binary(max_size=8), max_size=12).map(b"".join), st.binary(max_size=16))
def test_whatever_comes_is_a_file_or_refused(body: bytes, boundary: bytes) -> None:
    for content_type in (FORM, b"multipart/form-data; boundary=" + boundary):
        try:
            found = single_file(content_type, body)
        except InvalidInput:
            continue
        assert found.data in body


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
