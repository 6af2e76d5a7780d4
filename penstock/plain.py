"""What others wrote, as a terminal may get it."""


def printable(text: str) -> str:
    """In a line: it can neither break a table nor speak to the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def printable_lines(text: str) -> str:
    """The same of several lines."""
    return "\n".join(map(printable, text.split("\n")))
