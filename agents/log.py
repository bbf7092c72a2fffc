"""Logs: one JSON object per line on stderr, also for what faust and aiokafka have to say."""

import logging
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any, TextIO

import structlog

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]

# Chatty at info, and about things that this application does itself.
_QUIET = ("aiokafka", "faust", "mode", "kafka", "asyncio")
_REPEAT = 5.0  # s


class _Once(logging.Filter):
    """Lets a library's line pass once in 5 s: with a broker down, aiokafka's retries write hundreds a second."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if not record.name.startswith(_QUIET):
            return True
        key, now = (record.name, str(record.msg)[:60]), self._clock()
        if now - self._seen.get(key, -_REPEAT) < _REPEAT:
            return False
        if len(self._seen) > 1_000:
            self._seen.clear()
        self._seen[key] = now
        return True


def configure_logs(level: str = "info", form: str = "json", stream: TextIO | None = None) -> None:
    """Send structlog and standard logging to one stream (stderr).

    Args:
        level: debug, info, warning or error; the libraries' own lines start at warning unless it is debug.
        form: `json` or `console`.
        stream: where to; stderr when None.
    """
    threshold = getattr(logging, level.upper())
    json: Any = structlog.processors.JSONRenderer()
    renderer = json if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_Once())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _QUIET:
        logging.getLogger(name).setLevel(threshold if level == "debug" else max(threshold, logging.WARNING))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger: `log.info("event_name", key=value)`. Never log a user's id, traits or payload."""
    log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return log
