"""The list of pinned jars."""

import re

import pytest

from penstock.embedded.jars import PINS, Jar, kafka_version, parse_pins
from penstock.errors import StackError

LINE = f"org.apache.kafka:kafka-server:4.1.1 {'0' * 64} 1234"


def test_a_line_names_coordinate_checksum_and_size() -> None:
    (jar,) = parse_pins(f"# comment\n\n{LINE}\n")
    assert jar == Jar("org.apache.kafka", "kafka-server", "4.1.1", "0" * 64, 1234)


def test_a_jar_stands_where_maven_repositories_keep_it() -> None:
    (jar,) = parse_pins(LINE)
    assert jar.repository_path == "org/apache/kafka/kafka-server/4.1.1/kafka-server-4.1.1.jar"
    assert jar.coordinate == "org.apache.kafka:kafka-server:4.1.1"


def test_every_pin_of_ours_is_whole_and_named_once() -> None:
    jars = parse_pins(PINS.read_text())
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert all(jar.size_bytes > 0 for jar in jars)
    assert len({jar.file_name for jar in jars}) == len(jars)


def test_the_pins_name_no_host() -> None:
    assert "//" not in PINS.read_text()


def test_all_jars_of_kafka_are_of_one_version() -> None:
    jars = parse_pins(PINS.read_text())
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {kafka_version(jars)}


def test_a_list_without_a_broker_is_refused() -> None:
    with pytest.raises(StackError, match="names no kafka-server"):
        kafka_version(parse_pins(LINE.replace("kafka-server", "kafka-clients")))
