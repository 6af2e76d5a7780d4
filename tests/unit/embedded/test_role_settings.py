"""What a role's settings inherit is checked in each role, as it is in the class that it comes from."""

import pytest

from penstock.invalid_settings import ALL_SETTINGS
from runtime.settings import Settings, load


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        (settings, variable)
        for settings in ALL_SETTINGS
        for variable in ("redis_url", "postgres_dsn", "kafka_bootstrap_servers")
        if variable in settings.model_fields
    ],
)
def test_every_role_refuses_an_address_that_no_driver_would_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: type[Settings], variable: str
) -> None:
    monkeypatch.setenv(f"PENSTOCK_{variable.upper()}", "http://x:y")
    with pytest.raises(SystemExit):
        load(settings)
    assert capsys.readouterr().err.startswith(f"PENSTOCK_{variable.upper()}: ")


@pytest.mark.parametrize("settings", ALL_SETTINGS)
def test_no_check_takes_the_place_of_one_of_the_same_name(settings: type[Settings]) -> None:
    for base in (base for base in settings.__mro__ if issubclass(base, Settings)):
        decorators = base.__pydantic_decorators__
        for name in {*decorators.field_validators, *decorators.model_validators} & vars(base).keys():
            assert getattr(settings, name).__qualname__ == f"{base.__name__}.{name}"
