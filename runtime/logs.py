"""Structured logs to standard error: one JSON object a line, or readable lines for people."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runtime.settings import LogSettings


@contextmanager
def _as_if_not_installed(module: str) -> Iterator[None]:
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # Python's way to refuse an import
    try:
        yield
    finally:
        del sys.modules[module]


# structlog loads rich where it can, a fifth of a role's start, for tracebacks that show the values of variables. Those
# may be clients' data: we print none of that kind.
with _as_if_not_installed("rich"):
    import structlog
    from structlog.dev import plain_traceback


def configure_logs(settings: LogSettings, role: str) -> None:
    """Send our logs and the libraries' through one formatter. Called once, first thing in a process."""
    as_json = settings.log_format == "json"
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper("iso", utc=True)
        if as_json
        else structlog.processors.TimeStamper("%H:%M:%S", utc=False),
        structlog.processors.StackInfoRenderer(),
    ]
    final: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        # Its other formatters of exceptions print local variables: clients' data.
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain_traceback)]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # Every reconnect attempt of aiokafka is an error to it. We say once that Kafka is away, and let it say once
    # why; not in commands, which log from warnings on and end with one line.
    # At debug it would log whole requests: clients' data, and a megabyte a line.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL if level > logging.DEBUG else logging.INFO)
    if level > logging.DEBUG:
        connecting = logging.getLogger("aiokafka.client")
        connecting.setLevel(logging.ERROR if level <= logging.INFO else logging.CRITICAL)
        connecting.addFilter(OnceEach("Unable connect"))
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # it announces what each role says better itself
    if as_json:
        structlog.contextvars.bind_contextvars(role=role)


class OnceEach(logging.Filter):
    """Lets each text that begins so through once, and nothing else."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self._beginning = beginning
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if not text.startswith(self._beginning) or text in self._told:
            return False
        self._told.add(text)
        return True


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
