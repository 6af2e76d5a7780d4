"""`penstock models pin`: writes the digests of a model's files into its model.yaml."""

import difflib
import os
from pathlib import Path

import click

from penstock.errors import in_a_line
from penstock.models.pinning import pinned_text
from penstock.plain import printable
from schemas.errors import ConfigurationError


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--all", "everything", is_flag=True, help="Pin data as well: every file in the folders of versions.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit with 1 where something would change.")
def pin(directory: Path, *, everything: bool, only_check: bool) -> None:
    """Pin the files of a model in its model.yaml.

    DIRECTORY is the folder of a model, or a repository of models. Pinned are the files that run code, every file in the
    folder of a handler's version, and what is pinned already. Nothing else in model.yaml changes, and the difference
    is shown. Pins say what a worker may run, so read what you pin; `trust: code` is yours to write.

    \b
    Exits with 0 if all is pinned now, with 1 if that cannot be done.

    \b
    Examples:
      penstock models pin models/fraud
      penstock models pin models --check
    """
    try:
        folders = _folders(directory)
    except (ConfigurationError, OSError) as error:
        raise _cannot(error) from error
    changed, failed = 0, 0
    for folder in folders:
        try:
            changed += _pin(folder, everything, only_check)
        except (ConfigurationError, OSError) as error:
            if len(folders) == 1:
                raise _cannot(error) from error
            failed += 1
            click.echo(f"Error: {printable(_cannot(error).message)}", err=True)  # the others are pinned all the same
    if not (changed or failed):
        click.echo("all files are as they are pinned", err=True)
    raise SystemExit(1 if failed or (changed and only_check) else 0)


def _cannot(error: Exception) -> click.ClickException:
    return click.ClickException(error.message if isinstance(error, ConfigurationError) else in_a_line(error))


def _folders(directory: Path) -> list[Path]:
    if (directory / "model.yaml").is_file():
        return [directory]
    folders = sorted(path.parent for path in directory.glob("*/model.yaml"))
    if not folders:
        raise ConfigurationError(f"{directory}: holds no model.yaml, and no folder with one")
    return folders


def _pin(folder: Path, everything: bool, only_check: bool) -> bool:
    """Show what changes, and write it unless it is only to be checked. Returns whether anything changes."""
    before, after = pinned_text(folder, everything=everything)
    path = folder / "model.yaml"
    for line in difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), str(path), lineterm="", n=1):
        click.echo(line)
    if before != after and not only_check:
        _write(path, after)
    return before != after


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a worker may be reading it."""
    path = path.resolve()  # a link stays one
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(text.encode())
        aside.chmod(path.stat().st_mode & 0o777)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
