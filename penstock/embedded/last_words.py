"""What a service that would not start said in its log."""

from collections.abc import Sequence
from pathlib import Path

READ_BYTES = 32_768


def last_words(log: Path, telling: Sequence[str]) -> str:
    """The last line that holds one of the `telling` marks (else the last line of all), and where to read the rest."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - READ_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return ""
    if not lines:
        return f"its log {log} is empty"
    told = [line for line in lines if any(mark in line for mark in telling)]
    return f"{(told or lines)[-1]} (log: {log})"
