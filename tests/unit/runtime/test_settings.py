"""Settings from the environment."""

import pytest
from pydantic import Field, SecretStr, ValidationError

from runtime.settings import HealthSettings, KafkaSettings, LogSettings, PostgresSettings, Settings, load


class ThingSettings(KafkaSettings, LogSettings, HealthSettings):
    thing_count: int = Field(1, ge=1)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "POSTGRES_DSN", "REDIS_URL", "TOPIC_PREFIX"):
        monkeypatch.delenv(f"PENSTOCK_{name}", raising=False)


def test_settings_come_from_penstocks_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_THING_COUNT", "3")
    monkeypatch.setenv("PENSTOCK_TOPIC_PREFIX", "acme.prod")
    settings = load(ThingSettings)
    assert (settings.thing_count, settings.topics.requests) == (3, "acme.prod.requests.v1")


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_THING_COUNT", "")
    assert load(ThingSettings).thing_count == 1


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ThingSettings().thing_count = 2  # type: ignore[misc]


def test_all_mistakes_are_listed_at_once_and_end_the_process_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PENSTOCK_THING_COUNT", "many")
    monkeypatch.setenv("PENSTOCK_HEALTH_PORT", "70000")
    monkeypatch.setenv("PENSTOCK_TOPIC_PREFIX", "Not Good")

    with pytest.raises(SystemExit) as caught:
        load(ThingSettings)

    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in sorted(lines)] == [
        "PENSTOCK_HEALTH_PORT",
        "PENSTOCK_THING_COUNT",
        "PENSTOCK_TOPIC_PREFIX",
    ]


def test_sasl_without_a_name_is_a_mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PENSTOCK_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    with pytest.raises(SystemExit):
        load(KafkaSettings)
    assert "PENSTOCK_KAFKA_SASL_USERNAME" in capsys.readouterr().err


def test_the_clients_get_what_the_cluster_asks_for() -> None:
    plain = KafkaSettings(kafka_bootstrap_servers="k:9092").client_options()
    assert plain == {"bootstrap_servers": "k:9092", "security_protocol": "PLAINTEXT"}

    secured = KafkaSettings(
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="me",
        kafka_sasl_password=SecretStr("secret"),
    ).client_options()
    assert secured["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (secured["sasl_plain_username"], secured["sasl_plain_password"]) == ("me", "secret")
    assert secured["ssl_context"].check_hostname


def test_secrets_are_not_shown() -> None:
    settings = PostgresSettings(postgres_dsn=SecretStr("postgresql://me:secret@db/penstock"))
    assert "secret" not in repr(settings)


def test_every_variable_of_ours_begins_with_our_name() -> None:
    assert Settings.model_config["env_prefix"] == "PENSTOCK_"


def test_the_delays_of_retries_are_numbers_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(KafkaSettings).retry_tiers_s == (10, 60, 600)
    monkeypatch.setenv("PENSTOCK_RETRY_DELAYS_S", "0.5,2")
    assert load(KafkaSettings).retry_tiers_s == (0.5, 2)
    for wrong in ("soon", "1,", "-1", "1,1,1,1,1,1,1,1,1,1"):
        monkeypatch.setenv("PENSTOCK_RETRY_DELAYS_S", wrong)
        with pytest.raises(SystemExit):
            load(KafkaSettings)
        assert "PENSTOCK_RETRY_DELAYS_S" in capsys.readouterr().err
