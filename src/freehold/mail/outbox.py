"""Writes e-mails to a file, for development and tests: one JSON line per message, newest last."""

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from freehold.auth.errors import MailUnavailable
from freehold.auth.outgoing_email import OutgoingEmail
from freehold.dates import to_iso, utc_now
from freehold.mail.templates import write_out


class OutboxLine(msgspec.Struct, frozen=True):
    """One line. `text` contains the code or the link."""

    to: str
    subject: str
    text: str
    sent_at: str


class Outbox:
    """Appends to the file. Implements `freehold.auth.ports.Mailer`."""

    def __init__(self, path: Path, app: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._path = path
        self._app = app
        self._clock = clock

    async def send(self, letter: OutgoingEmail) -> None:
        message = write_out(letter, self._app)
        line = OutboxLine(message.to, message.subject, message.text, to_iso(self._clock()))
        await asyncio.to_thread(self._append, msgspec.json.encode(line) + b"\n")

    async def rehearse(self, letter: OutgoingEmail) -> None:
        write_out(letter, self._app)
        await asyncio.to_thread(self._append, b"")

    def _append(self, line: bytes) -> None:
        try:
            # Anyone who can read it can sign in as anyone.
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                _append_whole(file, line)
            finally:
                os.close(file)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise MailUnavailable(f"the mail could not be written to the outbox ({reason})") from error


def _append_whole(file: int, line: bytes) -> None:
    """Append the whole line or nothing, not mixed with other processes' lines, and sync it to disk."""
    fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
    before = os.fstat(file).st_size
    if os.write(file, line) < len(line):
        os.ftruncate(file, before)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(file)
