"""Who may enter where, and what is where by default."""

import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.child import Account
from penstock.embedded.locations import cache_dir, database_account, default_data_dir, first_barrier, make_directory
from penstock.errors import StackError

STRANGER = Account("stranger", uid=54321, gid=54321)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A path that others may pass; the test runner's own directories are closed to them."""
    with tempfile.TemporaryDirectory() as top:
        path = Path(top, "a", "b")
        path.mkdir(parents=True)
        for directory in (path, path.parent, path.parent.parent):
            directory.chmod(0o711)
        yield path


def test_a_path_that_others_may_pass_has_no_barrier(open_path: Path) -> None:
    assert first_barrier(open_path, STRANGER) is None


def test_the_first_closed_directory_is_the_barrier(open_path: Path) -> None:
    open_path.parent.chmod(0o700)
    assert first_barrier(open_path, STRANGER) == open_path.parent


def test_root_and_users_have_their_own_places() -> None:
    assert default_data_dir(0) == Path("/var/lib/penstock")
    assert default_data_dir(1000).is_relative_to(Path.home())
    assert cache_dir(0, {}) == Path("/var/cache/penstock")
    assert cache_dir(1000, {}).is_relative_to(Path.home())


def test_a_user_without_home_and_name_is_told_which_variable_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(StackError, match="set HOME, or name a directory with --data-dir"):
        default_data_dir(1000)
    with pytest.raises(StackError, match="set HOME, or name a directory with PENSTOCK_CACHE_DIR"):
        cache_dir(1000, {})


def test_the_cache_may_be_elsewhere(tmp_path: Path) -> None:
    assert cache_dir(0, {"PENSTOCK_CACHE_DIR": str(tmp_path)}) == tmp_path


def test_only_root_needs_another_account_for_the_database() -> None:
    assert database_account(1000) is None
    nobody = database_account(0)
    assert nobody is not None
    assert nobody.name == "nobody"


def test_a_directory_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"cannot create .*/file/below: File exists"):
        make_directory(tmp_path / "file" / "below", 0o700)


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o750)
    make_directory(tmp_path / "mine", 0o700)
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o750
