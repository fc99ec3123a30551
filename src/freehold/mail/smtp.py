"""Sends e-mails through an SMTP server. Sources: RFC 5321, RFC 8314 (TLS), RFC 3834 (mail from programs)."""

import asyncio
import random
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, make_msgid, parseaddr
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from freehold.auth.errors import MailRefused, MailUnavailable
from freehold.auth.outgoing_email import OutgoingEmail
from freehold.dates import utc_now
from freehold.log import get_logger
from freehold.mail.templates import Message, write_out
from freehold.settings.servers import is_loopback

_TIMEOUT_S = 10.0
_AT_ONCE = 16  # servers reject clients with more concurrent connections
_PACES = 32
_FAILURE_LASTS_S = 60.0

# Not every server accepts bytes over 127, and encoding them is cheap.
_POLICY = SMTP_POLICY.clone(cte_type="7bit")

log = get_logger()


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The server to submit e-mails to. `needs_starttls`: do not continue in clear text."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    is_tls: bool = False
    needs_starttls: bool = False

    def __repr__(self) -> str:
        return f"SmtpServer(host={self.host!r}, port={self.port})"

    @classmethod
    def from_url(cls, url: str) -> "SmtpServer":
        """Parse `smtps://user:password@host:465` or `smtp://…:587`, already checked by the settings.

        With `smtp` the connection must switch to TLS, unless the host is this machine or the URL has `?starttls=off`.
        """
        parts = urlsplit(url)
        host, is_tls = parts.hostname or "", parts.scheme == "smtps"
        starttls = parse_qs(parts.query).get("starttls", ["off" if is_loopback(url) else "required"])[-1]
        return cls(
            host=host,
            port=parts.port or (465 if is_tls else 587),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            is_tls=is_tls,
            needs_starttls=not is_tls and starttls == "required",
        )


class SmtpMailer:
    """Opens a connection to the server for each e-mail. Implements `freehold.auth.ports.Mailer`.

    A rehearsal is the same conversation up to the text of the message, so that neither its duration nor a server that
    refuses reveals whether an e-mail was sent. Instead of sending the text, it waits as long as that took recently, and
    fails if that failed recently.
    """

    def __init__(
        self, server: SmtpServer, sender: str, app: str, tls: ssl.SSLContext, *, timeout_s: float = _TIMEOUT_S
    ) -> None:
        """`sender` is the header From: `Name <address>`. `tls` has the trusted certificates."""
        self._server = server
        self._sender = sender
        self._address = parseaddr(sender)[1]
        self._app = app
        self._timeout_s = timeout_s
        self._tls = tls
        self._paces: deque[float] = deque(maxlen=_PACES)
        self._failed_at: float | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def send(self, letter: OutgoingEmail) -> None:
        raw = to_mime(write_out(letter, self._app), self._sender)
        async with self._conversation(letter.to) as smtp:
            started = time.monotonic()
            try:
                await smtp.data(raw)
            except BaseException:
                self._failed_at = time.monotonic()
                raise
            self._failed_at = None
            self._paces.append(time.monotonic() - started)

    async def rehearse(self, letter: OutgoingEmail) -> None:
        to_mime(write_out(letter, self._app), self._sender)
        async with self._conversation(letter.to):
            if self._paces:
                await asyncio.sleep(random.choice(self._paces))  # noqa: S311 - not a secret
            if self._failed_at is not None and time.monotonic() - self._failed_at < _FAILURE_LASTS_S:
                raise MailUnavailable("the mail server does not take mail; try again later")

    @asynccontextmanager
    async def _conversation(self, to: str) -> AsyncIterator[aiosmtplib.SMTP]:
        """Connect, sign in, and send the sender and recipient.

        Raises:
            MailRefused: the server permanently refuses mail for this address.
            MailUnavailable: any other reason why it cannot be submitted.
        """
        smtp = self._client()
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                await smtp.connect()
                await smtp.mail(self._address)
                await _name_recipient(smtp, to)
                yield smtp
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            # Servers' replies may contain the address and more; the type and the number are enough.
            log.warning("mail.not_sent", reason=type(error).__name__, status=getattr(error, "code", None))
            raise MailUnavailable("the mail could not be sent; try again in a moment") from error
        finally:
            smtp.close()  # without QUIT: the server has already acknowledged

    def _client(self) -> aiosmtplib.SMTP:
        server = self._server
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.is_tls,
            start_tls=server.needs_starttls,
            tls_context=self._tls,
            timeout=self._timeout_s,
            # The default would look up this machine's name, which blocks the event loop.
            local_hostname=self._address.rpartition("@")[2],
        )


async def _name_recipient(smtp: aiosmtplib.SMTP, to: str) -> None:
    try:
        await smtp.rcpt(to)
    except aiosmtplib.SMTPRecipientRefused as error:
        if 500 <= error.code < 600:
            log.warning("mail.refused", status=error.code)
            raise MailRefused from None
        raise


def to_mime(message: Message, sender: str) -> bytes:
    """The MIME message, with text and HTML alternatives. Raises `ValueError` for a line break in a header."""
    mime = EmailMessage(policy=_POLICY)
    mime["From"] = sender
    mime["To"] = Address(addr_spec=message.to)
    mime["Subject"] = message.subject
    mime["Date"] = format_datetime(utc_now())
    mime["Message-ID"] = make_msgid(domain=parseaddr(sender)[1].rpartition("@")[2])
    # Stops out-of-office programs and mailing lists from replying.
    mime["Auto-Submitted"] = "auto-generated"
    mime.set_content(message.text)
    mime.add_alternative(message.html, subtype="html")
    mime["Content-Language"] = message.language  # last: earlier headers are moved into the first part
    return mime.as_bytes()
