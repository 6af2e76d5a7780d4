"""The pinned jars are those that Maven takes."""

import shutil
from dataclasses import replace

from penstock.embedded.jars import PINS, Jar, parse_pins
from tests.services import unavailable
from tools.check_kafka_pins import ROOTS, MavenFailed, differences, render, resolve

ONE = Jar("org.example", "one", "1.0", "0" * 64, 10)
TWO = Jar("org.example", "two", "1.0", "1" * 64, 10)


def test_maven_resolves_what_we_pinned() -> None:
    maven = shutil.which("mvn")
    if maven is None:
        unavailable("there is no mvn on the PATH")
    try:
        resolved = resolve(maven, ROOTS)
    except MavenFailed as error:
        unavailable(f"Maven could not resolve: {error}")
    assert differences(parse_pins(PINS.read_text()), resolved) == []


def test_every_kind_of_difference_is_told() -> None:
    assert differences([ONE], [ONE]) == []
    assert differences([ONE, TWO], [ONE]) == ["org.example:two:1.0 is pinned, and Maven does not need it"]
    assert differences([ONE], [ONE, TWO]) == ["org.example:two:1.0 is not pinned, and Maven needs it"]
    assert differences([ONE], [replace(ONE, version="2.0")]) == ["org.example:one:1.0 is pinned, and Maven takes 2.0"]
    assert differences([ONE], [replace(ONE, sha256="f" * 64)]) == [
        "org.example:one:1.0 has other bytes than those that are pinned"
    ]


def test_the_list_is_in_the_form_that_the_check_writes() -> None:
    assert render(parse_pins(PINS.read_text())) == PINS.read_text()
