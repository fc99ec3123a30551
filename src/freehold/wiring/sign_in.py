"""Signing in by password, and by codes and links in mails."""

import asyncio
import ssl
from contextlib import AsyncExitStack
from email.utils import parseaddr
from urllib.parse import urlsplit

from freehold.auth.email.addresses import EmailAddresses
from freehold.auth.email.codes import Codes
from freehold.auth.email.links import Links
from freehold.auth.email.notices import Notices
from freehold.auth.email.password_resets import PasswordResets
from freehold.auth.passwords.rules import BreachedPasswords, PasswordRules, words_of_service
from freehold.auth.places import KnownPlaces
from freehold.auth.ports import Mailer
from freehold.auth.service import Auth
from freehold.auth.users.accounts import Accounts
from freehold.central.auth.accounts import CentralAccounts
from freehold.central.auth.verifications import CentralVerifications
from freehold.central.auth.wrong_passwords import CentralWrongPasswords
from freehold.central.engine import Central
from freehold.mail.outbox import Outbox
from freehold.settings.fields import BadSettings, Settings


def open_mailer(settings: Settings) -> Mailer:
    """A mailer for SMTP, or for a file in DATA_DIR without SMTP_URL. Blocks: it loads certificates."""
    app = parseaddr(settings.mail_from)[0] or urlsplit(settings.public_url).hostname or "Freehold"
    if not settings.smtp_url:
        return Outbox(settings.data_dir / "outbox.jsonl", app)
    from freehold.mail.smtp import SmtpMailer, SmtpServer

    server = SmtpServer.from_url(settings.smtp_url.reveal())
    return SmtpMailer(server, settings.mail_from, app, ssl.create_default_context())


def email_addresses(central: Central, mailer: Mailer, secret: str, settings: Settings) -> EmailAddresses:
    """The service for e-mail addresses, with codes and links in mails."""
    verifications, rate = CentralVerifications(central), settings.rate_limit_codes
    places = KnownPlaces(CentralWrongPasswords(central), secret)
    return EmailAddresses(
        store=CentralAccounts(central),
        codes=Codes(verifications, mailer, places, secret, rate),
        links=Links(verifications, mailer, places, rate),
        notices=Notices(verifications, mailer, places, rate),
        secret=secret,
        base_url=f"{settings.public_url}/api/auth",
    )


def open_accounts(auth: Auth, addresses: EmailAddresses) -> Accounts:
    """The service for users' own accounts and sessions."""
    return Accounts(auth, addresses.store, addresses.links, addresses.notices, addresses.secret, addresses.base_url)


def open_password_resets(auth: Auth, addresses: EmailAddresses) -> PasswordResets:
    """The service for new passwords by codes and links in mails."""
    return PasswordResets(
        addresses.store,
        auth.hasher,
        auth.rules,
        addresses.codes,
        addresses.links,
        addresses.notices,
        addresses.secret,
        addresses.base_url,
    )


async def open_password_rules(settings: Settings, stack: AsyncExitStack) -> PasswordRules:
    """The rules for new passwords. Raises `BadSettings` if there is nothing at PASSWORD_BREACH_PATH."""
    sender = parseaddr(settings.mail_from)[0]
    words = words_of_service(settings.public_url, sender, *settings.password_words)
    breached: BreachedPasswords | None = None
    if settings.password_breach_path is not None:
        path = settings.password_breach_path
        if not await asyncio.to_thread(path.exists):
            raise BadSettings([f"PASSWORD_BREACH_PATH: there is no file or folder `{path}`"])
        from freehold.breaches.service import BreachFiles

        breached = BreachFiles(path)
    elif settings.password_breach_url:
        from freehold.breaches.service import open_breach_service

        breached = await stack.enter_async_context(open_breach_service(settings.password_breach_url))
    return PasswordRules(words, breached)
