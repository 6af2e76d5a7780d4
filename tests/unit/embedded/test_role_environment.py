"""What the roles of a stack are told apart by."""

from pathlib import Path

import pytest

from penstock.embedded.data_dir import DataDir
from penstock.role_environment import group_instance_id, webhook_keys
from runtime.settings import KafkaSettings, WebhookKeySettings


def test_each_role_of_a_stack_has_a_name_that_it_keeps_and_no_other_stack_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {group_instance_id(Path(path), role) for path in ("/a", "/b") for role in ("worker-1", "worker-2", "sink")}
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    elsewhere = group_instance_id(Path("/a"), "sink")
    assert len(names | {elsewhere}) == 7
    assert elsewhere == group_instance_id(Path("/a"), "sink")
    assert KafkaSettings(kafka_group_instance_id=elsewhere).group_instance_id == elsewhere


async def test_a_stack_makes_one_key_for_secrets_of_webhooks_and_keeps_it(tmp_path: Path) -> None:
    found = set()
    for _ in range(2):
        async with DataDir(tmp_path) as data_dir:
            found.add(webhook_keys(data_dir))
    (keys,) = found
    ((name, key),) = WebhookKeySettings(webhook_keys=keys).webhook_key_ring.items()
    assert (name, len(key)) == ("up", 32)
    assert (tmp_path / "secrets" / "webhooks").stat().st_mode & 0o77 == 0
