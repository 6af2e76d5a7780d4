"""What `penstock up` tells of the database before the first role starts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import stack as stacks
from penstock.errors import StackError
from penstock.migrate_settings import MigrateSettings
from schemas.errors import StoreUnavailable


async def test_progress_of_a_long_migration_reaches_the_console_and_what_is_quick_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def prepare(settings: MigrateSettings, told: Callable[[str], None], progress: Callable[[str], None]) -> None:
        progress("0007_a.backfill.sql: 1,000 rows so far")
        told("applied 0007_a.backfill.sql")

    monkeypatch.setattr(stacks, "prepare", prepare)
    said: list[str] = []
    await stacks.Stack(None, models=Path("models"), announce=said.append)._prepare({})
    assert said == ["0007_a.backfill.sql: 1,000 rows so far"]


async def test_a_migration_that_failed_ends_it_with_the_file_and_what_postgres_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def prepare(*_: object) -> None:
        raise StoreUnavailable("0007_a.sql, line 3: it cannot be")

    monkeypatch.setattr(stacks, "prepare", prepare)
    with pytest.raises(StackError, match=r"cannot be made ready: 0007_a.sql, line 3: it cannot be"):
        await stacks.Stack(None, models=Path("models"))._prepare({})
