"""Logging, configured by the edge only: pretty on a terminal, one JSON object per line elsewhere, to stderr."""

import atexit
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

_WRITE_EVERY_S = 0.05
_KEPT_LINES = 100_000
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


_encoder = msgspec.json.Encoder(enc_hook=repr)


def _to_json(event: Any, **_: Any) -> str:
    return _encoder.encode(event).decode()


class LineWriter:
    """Writes lines to a stream from its own thread, so that a slow reader never stops the event loop.

    Lines are written within 50 ms, and at exit. If the reader is far behind, the oldest are dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._writing = threading.Lock()
        self._stopped = threading.Event()
        threading.Thread(target=self._work, name="log-writer", daemon=True).start()
        atexit.register(self.flush)

    def msg(self, line: str) -> None:
        self._lines.append(line)

    log = debug = info = warning = error = critical = exception = fatal = msg

    def flush(self) -> None:
        """Write all that was logged before this call."""
        with self._writing:
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if lines:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._stopped.set()
        self.flush()
        atexit.unregister(self.flush)

    def _work(self) -> None:
        while not self._stopped.wait(_WRITE_EVERY_S):
            try:
                self.flush()
            except (OSError, ValueError):  # the reader is gone, and there is nowhere to say so
                return


class _Handler(logging.Handler):
    """Passes lines of the standard library's loggers to the same writer."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        self._writer.msg(self.format(record))


class _FirstLine(logging.Handler):
    """Stands in for `_Handler` until the first line, which sets up logging."""

    def emit(self, record: logging.LogRecord) -> None:
        _structlog()
        for handler in logging.getLogger().handlers:
            if isinstance(handler, _Handler):
                handler.handle(record)


class _Logger:
    """A logger of structlog, which is imported when the first line is logged."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_structlog(), name)


def get_logger() -> Any:
    """A logger as `structlog.get_logger` returns it. Commands that log nothing start a tenth of a second faster."""
    return _Logger()


_writers: list[LineWriter] = []
_quick_lines: list[LineWriter] = []  # the writer, when info events go out as JSON
_wanted: list[tuple[str, str]] = []  # level and format that are set up with the first line
_loggers: list[Any] = []  # structlog's, once it is loaded
_setting_up = threading.RLock()
_configured: list[tuple[str, str]] = []


def quick_info(event: str) -> Callable[[dict[str, Any]], None]:
    """Return a function that writes info events of one kind as structlog would, at a fifth of its cost.

    Logging must be configured; the facts must hold the context that is wanted, such as `request_id`.
    """
    logger = _structlog()
    if not _quick_lines:
        info: Callable[..., None] = logger.bind().info
        return lambda facts: info(event, **facts)
    [writer] = _quick_lines

    def write(facts: dict[str, Any]) -> None:
        writer.msg(_to_json({**facts, "event": event, "level": "info", "timestamp": datetime.now(UTC)}))

    return write


def configure_logging(level: str, log_format: str) -> None:
    """Set up structlog and the standard library's logging alike.

    `level` is `debug`, `info`, `warning` or `error`; `log_format` is `console`, `json` or `auto` (`console` if stderr
    is a terminal).
    """
    while _writers:
        _writers.pop().close()
    _wanted[:] = _configured[:] = [(level, log_format)]
    root = logging.getLogger()
    root.handlers[:] = [_FirstLine()]
    # Libraries log from `warning` on; the events worth reading are ours.
    root.setLevel(max(_LEVELS[level], logging.WARNING))


def _begin_again() -> None:
    """Set up logging again in a forked process, which lacks the thread that writes lines."""
    global _setting_up  # noqa: PLW0603 - it may be held by a thread that is not here
    _setting_up = threading.RLock()
    _writers.clear()
    _quick_lines.clear()
    if _configured:
        configure_logging(*_configured[0])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)


def _structlog() -> Any:
    """The one logger behind all of ours, set up as last configured."""
    if not _loggers or _wanted:
        with _setting_up:
            if not _loggers:
                import structlog

                _loggers.append(structlog.get_logger())
            if _wanted:
                _set_up(*_wanted.pop())
    return _loggers[0]


def _set_up(level: str, log_format: str) -> None:
    import structlog

    pretty = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Any] = (
        [
            # Plain: the pretty form prints local variables, which may hold passwords and tokens.
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]
    )
    threshold = _LEVELS[level]
    writer = LineWriter(sys.stderr)
    _writers.append(writer)
    _quick_lines[:] = [writer] if threshold <= logging.INFO and not pretty else []
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )
    writer_handler = _Handler(writer)
    writer_handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render]
        )
    )
    logging.getLogger().handlers[:] = [writer_handler]
