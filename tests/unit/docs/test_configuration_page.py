import pytest

from penstock.settings_reference import COMMANDS
from tools.configuration import PAGE, render


def test_the_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text() == render(), "run `make docs`"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_says_what_it_is_for(command: str) -> None:
    fields = COMMANDS[command].model_fields

    assert [name for name, field in fields.items() if not field.description] == []
