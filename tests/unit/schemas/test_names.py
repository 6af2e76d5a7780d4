"""Names and ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.jobs import is_job_id, new_job_id
from schemas.names import is_model_name, is_version


@pytest.mark.parametrize("name", ["a", "digits", "all-minilm-l6-v2", "0", "a" * 64])
def test_model_names(name: str) -> None:
    assert is_model_name(name)


@pytest.mark.parametrize("name", ["", "-a", "A", "a.b", "a_b", "a/b", "a b", "ä", "a" * 65, "a\n", "a\0"])
def test_what_is_no_model_name(name: str) -> None:
    assert not is_model_name(name)


@pytest.mark.parametrize("version", ["1", "2.0", "v1-rc.1", "a" * 32])
def test_versions(version: str) -> None:
    assert is_version(version)


@pytest.mark.parametrize("version", ["", ".1", "-1", "V1", "1_0", "a" * 33, "1\n"])
def test_what_is_no_version(version: str) -> None:
    assert not is_version(version)


@pytest.mark.parametrize("job_id", ["x", "penstock.requests.v1-3-1234", "urn:uuid:1", "A~_.-", "a" * 128])
def test_job_ids(job_id: str) -> None:
    assert is_job_id(job_id)


@pytest.mark.parametrize("job_id", ["", "a b", "a/b", "-a", ".a", "a?", "a#", "a%20", "ä", "a" * 129, "a\n", "\0"])
def test_what_is_no_job_id(job_id: str) -> None:
    assert not is_job_id(job_id)


def test_new_ids_are_job_ids_that_sort_by_the_time_they_were_made() -> None:
    first = new_job_id()
    later = [new_job_id() for _ in range(1000)]
    assert all(map(is_job_id, later))
    assert len(set(later)) == 1000
    assert first[:16] <= min(later)[:16]


@given(st.text())
def test_no_name_holds_what_a_path_a_topic_or_a_store_could_not(text: str) -> None:
    if is_job_id(text) or is_model_name(text) or is_version(text):
        assert text.isascii()
        assert text.isprintable()
        assert not set("/?#% \"'\\") & set(text)
