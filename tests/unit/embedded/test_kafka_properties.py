"""The broker's configuration."""

from pathlib import Path

from penstock.embedded.kafka_properties import escape, render, server_properties


def test_every_listener_is_on_loopback() -> None:
    properties = server_properties(Path("/data"), port=1234, controller_port=1235)
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:1234,CONTROLLER://127.0.0.1:1235"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:1234"


def test_topics_are_never_made_by_accident() -> None:
    assert server_properties(Path("/data"), 1, 2)["auto.create.topics.enable"] == "false"


def test_a_path_survives_the_rules_of_java_properties() -> None:
    assert escape("/plain path/x=y") == "/plain path/x=y"
    assert escape("C:\\data") == "C:\\u005cdata"
    assert escape(" leading") == "\\ leading"
    assert escape("größe") == "gr\\u00f6\\u00dfe"
    assert escape("🜄") == "\\ud83d\\udf04"


def test_a_file_is_one_property_a_line() -> None:
    assert render({"a": "1", "b": "2"}) == "a=1\nb=2\n"
