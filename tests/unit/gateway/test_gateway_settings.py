import pytest
from pydantic import ValidationError

from gateway.settings import GatewaySettings
from runtime.settings import HealthSettings


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://example.com", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("http://10.0.0.1:8080/inference/", "http://10.0.0.1:8080/inference"),
    ],
)
def test_the_public_url_is_kept_without_its_last_slash(given: str, kept: str) -> None:
    assert GatewaySettings(public_base_url=given).public_base_url == kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"public_base_url": "example.com"},
        {"public_base_url": "ftp://example.com"},
        {"public_base_url": "https://example.com/?a=b"},
        {"public_base_url": "https:///path"},
        {"gateway_port": 65536},
        {"gateway_max_in_flight": 0},
        {"gateway_max_timeout_s": 604_801},
        {"gateway_default_timeout_s": 60, "gateway_max_timeout_s": 30},
        {"gateway_max_body_bytes": 1024 * 1024, "memory_budget_bytes": 2 * 1024 * 1024},
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings.model_validate(wrong)


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_GATEWAY_PORT", "9000")
    monkeypatch.setenv("PENSTOCK_GATEWAY_MAX_LANE_DEPTH", "5")
    settings = GatewaySettings()
    assert (settings.gateway_port, settings.gateway_max_lane_depth) == (9000, 5)


def test_other_machines_are_served_only_where_somebody_says_so() -> None:
    assert GatewaySettings().gateway_host == "127.0.0.1"
    assert HealthSettings().health_host == "127.0.0.1"
