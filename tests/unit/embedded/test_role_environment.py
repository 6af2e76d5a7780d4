"""What the roles of a stack are told apart by."""

from pathlib import Path

import pytest

from penstock.role_environment import group_instance_id
from runtime.settings import KafkaSettings


def test_each_role_of_a_stack_has_a_name_that_it_keeps_and_no_other_stack_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {group_instance_id(Path(path), role) for path in ("/a", "/b") for role in ("worker-1", "worker-2", "sink")}
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    elsewhere = group_instance_id(Path("/a"), "sink")
    assert len(names | {elsewhere}) == 7
    assert elsewhere == group_instance_id(Path("/a"), "sink")
    assert KafkaSettings(kafka_group_instance_id=elsewhere).group_instance_id == elsewhere
