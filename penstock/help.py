"""The end of a command's help: examples that can be pasted, and the variables that it reads."""

from textwrap import wrap

WIDTH = 78


def examples(*commands: str, reads: str = "") -> str:
    """An epilog for click, which keeps the lines of a paragraph that begins with a backspace character."""
    shown = "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
    lines = wrap(reads, WIDTH - 2)
    return shown + ("\n\n\b\nVariables:\n" + "\n".join(f"  {line}" for line in lines) if lines else "")
