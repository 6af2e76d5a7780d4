"""Settings from the environment."""

import base64
from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError

from runtime.settings import (
    HealthSettings,
    KafkaSettings,
    LogSettings,
    PostgresSettings,
    RedisSettings,
    Settings,
    WebhookKeySettings,
    load,
)


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


def test_a_choice_is_taken_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_LOG_LEVEL", "INFO")
    monkeypatch.setenv("PENSTOCK_LOG_FORMAT", "Console")
    monkeypatch.setenv("PENSTOCK_KAFKA_SECURITY_PROTOCOL", "ssl")
    settings = load(ThingSettings)
    assert (settings.log_level, settings.log_format, settings.kafka_security_protocol) == ("info", "console", "SSL")


@pytest.mark.parametrize(
    ("settings", "variable", "value"),
    [
        (PostgresSettings, "POSTGRES_DSN", "foo"),
        (PostgresSettings, "POSTGRES_DSN", "mysql://me:secret@db/penstock"),
        (PostgresSettings, "POSTGRES_DSN", "postgresql://me:secret#1@db/penstock"),
        (PostgresSettings, "POSTGRES_DSN", "postgresql://me:secret@db:port/penstock"),
        (RedisSettings, "REDIS_URL", "foo"),
        (RedisSettings, "REDIS_URL", "http://:secret@cache:6379"),
        (RedisSettings, "REDIS_URL", "redis://:secret@cache:99999/0"),
        (KafkaSettings, "KAFKA_BOOTSTRAP_SERVERS", "kafka:port"),
        (KafkaSettings, "KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,"),
        (KafkaSettings, "KAFKA_BOOTSTRAP_SERVERS", "kafka://kafka:9092"),
    ],
)
def test_an_address_that_no_driver_would_take_is_a_mistake_that_shows_no_password(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: type[Settings],
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv(f"PENSTOCK_{variable}", value)
    with pytest.raises(SystemExit) as caught:
        load(settings)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"PENSTOCK_{variable}: ")
    assert "secret" not in line


@pytest.mark.parametrize(
    ("settings", "variable", "value"),
    [
        (PostgresSettings, "POSTGRES_DSN", "postgres://me:p%23ss@db-1:5432,db-2:5433/penstock?sslmode=require"),
        (PostgresSettings, "POSTGRES_DSN", "postgresql:///penstock?host=/run/postgresql"),
        (PostgresSettings, "POSTGRES_DSN", "postgresql://[::1]:5432/penstock"),
        (RedisSettings, "REDIS_URL", "rediss://user:secret@cache:6380/1"),
        (RedisSettings, "REDIS_URL", "unix:///run/valkey.sock?db=1"),
        (KafkaSettings, "KAFKA_BOOTSTRAP_SERVERS", "kafka"),
        (KafkaSettings, "KAFKA_BOOTSTRAP_SERVERS", "kafka-1:9092, [::1]:9093"),
    ],
)
def test_every_form_that_drivers_take_is_taken(
    monkeypatch: pytest.MonkeyPatch, settings: type[Settings], variable: str, value: str
) -> None:
    monkeypatch.setenv(f"PENSTOCK_{variable}", value)
    load(settings)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_read_are_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("PENSTOCK_KAFKA_SSL_CAFILE", str(file))
    load(KafkaSettings)  # nobody reads it there
    monkeypatch.setenv("PENSTOCK_KAFKA_SECURITY_PROTOCOL", "SSL")
    with pytest.raises(SystemExit) as caught:
        load(KafkaSettings)
    assert caught.value.code == 2
    assert f"PENSTOCK_KAFKA_SSL_CAFILE: {file}: " in capsys.readouterr().err


def test_a_process_is_known_to_its_groups_by_the_name_it_is_given_or_by_its_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "worker-0")
    assert KafkaSettings().group_instance_id is None
    assert KafkaSettings(kafka_group_instance_id="sink-a").group_instance_id == "sink-a"
    assert KafkaSettings(kafka_group_instance_id="hostname").group_instance_id == "worker-0"


def test_settings_of_another_environment_take_nothing_from_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_TOPIC_PREFIX", "ours")
    environ = {"PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": "there:9092", "PENSTOCK_RETRY_DELAYS_S": ""}
    found = load(KafkaSettings, environ)
    assert (found.topic_prefix, found.kafka_bootstrap_servers) == ("penstock", "there:9092")
    assert found.retry_delays_s == "10,60,600"


KEY = base64.b64encode(bytes(range(224, 256))).decode()  # has a `+` and a `/` in it


def test_the_keys_of_webhooks_are_a_ring_in_the_order_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    other = base64.urlsafe_b64encode(bytes(range(224, 256))).decode()
    monkeypatch.setenv("PENSTOCK_WEBHOOK_KEYS", f"2026-03:{KEY}, old:{other}")
    ring = load(WebhookKeySettings).webhook_key_ring
    assert list(ring.items()) == [("2026-03", bytes(range(224, 256))), ("old", bytes(range(224, 256)))]


def test_without_keys_of_webhooks_the_ring_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_WEBHOOK_KEYS", raising=False)
    assert load(WebhookKeySettings).webhook_key_ring == {}


@pytest.mark.parametrize(
    "keys",
    [KEY, f":{KEY}", f"a:{KEY},", f"a:{KEY},a:{KEY}", f"a:{KEY[:40]}", f"a:{KEY}{KEY}", f"a b:{KEY}", f"a:{'é' * 44}"],
)
def test_keys_of_webhooks_that_are_none_are_a_mistake_that_shows_none_of_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keys: str
) -> None:
    monkeypatch.setenv("PENSTOCK_WEBHOOK_KEYS", keys)
    with pytest.raises(SystemExit):
        load(WebhookKeySettings)
    told = capsys.readouterr().err
    assert told.startswith("PENSTOCK_WEBHOOK_KEYS: must be ID:KEY,ID:KEY")
    assert KEY[:20] not in told
