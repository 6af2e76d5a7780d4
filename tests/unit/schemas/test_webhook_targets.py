"""Which target a job's own webhook belongs to."""

import pytest

from schemas.webhook_targets import is_origin, origin_target


def test_urls_of_one_origin_have_one_target_for_each_tenant() -> None:
    targets = {origin_target("acme", f"https://example.com/{path}") for path in ("", "a/b", "?c=d")}
    (target,) = targets
    assert is_origin(target)
    assert target not in {
        origin_target("other", "https://example.com/"),
        origin_target("acme", "https://example.com:8443/"),
    }


@pytest.mark.parametrize("text", ["", "/", "no URL at all", "https:///"])
def test_what_is_no_url_has_some_target_all_the_same(text: str) -> None:
    assert is_origin(origin_target("acme", text))
