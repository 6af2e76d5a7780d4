"""The AsyncAPI document, held against the parser of AsyncAPI itself."""

import copy
import json
import subprocess
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest

from gateway.asyncapi.document import document
from runtime.settings import KafkaSettings
from tests.programs import javascript, node_command

WHOLE = document(KafkaSettings())
# That there is a newer version of the specification.
NEWER = "asyncapi-latest-version"


def parsed(folder: Path, whole: dict[str, Any]) -> dict[str, Any]:
    command = node_command(folder, "asyncapi.mjs", javascript("asyncapi.mjs"))
    ran = subprocess.run(command, cwd=folder, input=json.dumps(whole), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def test_it_is_accepted_without_a_word(tmp_path: Path) -> None:
    answer = parsed(tmp_path, WHOLE)
    assert [each for each in answer["found"] if each[1] != NEWER] == []
    assert answer["accepted"]


BROKEN: dict[str, tuple[tuple[str, ...], Any]] = {
    "an action": (("operations", "takeJob", "action"), "write"),
    "a channel that is not there": (("operations", "takeJob", "channel", "$ref"), "#/channels/jobs"),
    "a schema": (("components", "messages", "result", "headers", "type"), "text"),
    "a binding": (("components", "messages", "result", "bindings", "kafka", "key"), "text"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_wrong_is_found(tmp_path: Path, broken: str) -> None:
    path, value = BROKEN[broken]
    whole = copy.deepcopy(WHOLE)
    *within, last = path
    reduce(getitem, within, whole)[last] = value
    answer = parsed(tmp_path, whole)
    assert not answer["accepted"]
    assert [each for each in answer["found"] if each[0] == 0]
