"""Which jobs are copied: those that a hash of their own says, whatever version they got."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.routes import WHOLE, Route, Shadow, bucket, choose, copied_to

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def route(*shadows: Shadow, **fields: Any) -> Route:
    given: dict[str, Any] = {"versions": {"1": WHOLE}, "default": "1", "salt": "digits"}
    return Route(model="digits", revision=1, shadow=shadows, updated_at=NOW, updated_by="test", **{**given, **fields})


def copied(to: Route, job_id: str, *, version: str = "1", tenant: str = "acme", cohort: int | None = 3) -> list[str]:
    return [shadow.version for shadow in copied_to(to, version, cohort, tenant, job_id)]


@pytest.mark.parametrize(("job_id", "place"), [("job_1", 1796), ("job_2", 26), ("é", 4582)])
def test_the_place_of_a_job_is_the_documented_hash(job_id: str, place: int) -> None:
    assert bucket("digits", f"shadow\n2\n{job_id}") == place
    assert copied(route(Shadow("2", (place + 1) / WHOLE)), job_id) == ["2"]
    assert copied(route(Shadow("2", place / WHOLE)), job_id) == []


@given(st.text(min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_job_that_is_copied_at_some_rate_is_copied_at_every_higher_one(job_id: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert set(copied(route(Shadow("2", low)), job_id)) <= set(copied(route(Shadow("2", high)), job_id))
    assert copied(route(Shadow("2", 0.0)), job_id) == []
    assert copied(route(Shadow("2", 1.0)), job_id) == ["2"]


def test_about_the_rate_is_copied_and_of_each_version_alike() -> None:
    """One sound hash in a million is further off than 4.9 standard deviations."""
    split = route(Shadow("3", 0.1), versions={"1": 5000, "2": 5000})
    jobs = [f"job_{number}" for number in range(8000)]
    for version in ("1", "2"):
        ours = [job for job in jobs if choose(split, "t", None, job).version == version]
        share = sum(copied(split, job, version=version) == ["3"] for job in ours) / len(ours)
        assert abs(share - 0.1) < 4.9 * (0.1 * 0.9 / len(ours)) ** 0.5


def test_two_shadows_copy_jobs_of_their_own() -> None:
    both = route(Shadow("2", 0.5), Shadow("3", 0.5))
    found = {tuple(copied(both, f"job_{number}")) for number in range(100)}
    assert found == {(), ("2",), ("3",), ("2", "3")}


def test_no_version_copies_to_itself_and_some_jobs_are_never_copied() -> None:
    everything = route(Shadow("2", 1.0, exclude_tenants=("shy",)))
    assert copied(everything, "job_1") == ["2"]
    assert copied(everything, "job_1", version="2") == []
    assert copied(everything, "job_1", tenant="shy") == []
    assert copied(everything, "job_1", cohort=None) == [], "its client has named the version, or it is pinned"
    assert copied(msgspec.structs.replace(everything, shadow=()), "job_1") == []
