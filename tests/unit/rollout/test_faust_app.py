"""How Faust is set up: as all our clients of Kafka, and nothing from its own environment."""

import ssl
from typing import Any

import faust
import pytest
from pydantic import SecretStr

from runtime.settings import KafkaSettings
from workers.rollout.faust_app import faust_app

SASL = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_sasl_username": "us",
    "kafka_sasl_password": SecretStr("secret"),
}


def conf(**given: Any) -> Any:
    return faust_app(KafkaSettings(**given)).conf


async def test_sasl_and_tls_are_those_of_all_our_clients() -> None:
    credentials = conf(**SASL).broker_credentials
    assert isinstance(credentials, faust.SASLCredentials)
    assert (credentials.protocol.value, credentials.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (credentials.username, credentials.password) == ("us", "secret")
    assert isinstance(credentials.ssl_context, ssl.SSLContext)
    plain = conf(**SASL | {"kafka_security_protocol": "SASL_PLAINTEXT"}).broker_credentials
    assert (plain.protocol.value, plain.ssl_context) == ("SASL_PLAINTEXT", None)


async def test_tls_alone_and_neither() -> None:
    assert isinstance(conf(kafka_security_protocol="SSL").broker_credentials, faust.SSLCredentials)
    assert conf().broker_credentials is None


async def test_several_brokers_are_known() -> None:
    urls = conf(kafka_bootstrap_servers="kafka-1:9092, [::1]:9093").broker
    assert [(url.host, url.port) for url in urls] == [("kafka-1", 9092), ("::1", 9093)]


async def test_variables_of_fausts_own_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URL", "kafka://elsewhere:1")
    monkeypatch.setenv("APP_WEB_ENABLED", "yes")
    found = conf()
    assert (found.broker[0].host, found.web_enabled, found.topic_allow_declare) == ("localhost", False, False)


async def test_a_member_that_keeps_its_place_is_called_as_before() -> None:
    first, second = (conf(kafka_group_instance_id="controller-1").canonical_url for _ in range(2))
    assert first == second
    assert conf().canonical_url != conf().canonical_url
