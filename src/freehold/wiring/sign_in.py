"""What is sent by mail, and all that works by e-mail address and password."""

import ssl
from email.utils import parseaddr
from urllib.parse import urlsplit

from freehold.auth.email.addresses import EmailAddresses
from freehold.auth.email.codes import Codes
from freehold.auth.email.links import Links
from freehold.auth.email.notices import Notices
from freehold.auth.email.password_resets import PasswordResets
from freehold.auth.places import KnownPlaces
from freehold.auth.ports import Mailer
from freehold.auth.service import Auth
from freehold.auth.users.accounts import Accounts
from freehold.central.auth.accounts import CentralAccounts, CentralOwnSessions
from freehold.central.auth.verifications import CentralVerifications
from freehold.central.auth.wrong_passwords import CentralWrongPasswords
from freehold.central.engine import Central
from freehold.mail.outbox import Outbox
from freehold.settings.fields import Settings


def open_mailer(settings: Settings) -> Mailer:
    """SMTP, or a file in DATA_DIR for whoever has none. Blocks: it looks into certificates."""
    app = parseaddr(settings.mail_from)[0] or urlsplit(settings.public_url).hostname or "Freehold"
    if not settings.smtp_url:
        return Outbox(settings.data_dir / "outbox.jsonl", app)
    from freehold.mail.smtp import SmtpMailer, SmtpServer

    server = SmtpServer.from_url(settings.smtp_url.reveal())
    return SmtpMailer(server, settings.mail_from, app, ssl.create_default_context())


def email_addresses(central: Central, mailer: Mailer, secret: str, settings: Settings) -> EmailAddresses:
    """Codes and links in mails, and what they say of an address."""
    pending, rate = CentralVerifications(central), settings.rate_limit_codes
    places = KnownPlaces(CentralWrongPasswords(central), secret)
    return EmailAddresses(
        store=CentralAccounts(central),
        codes=Codes(pending, mailer, places, secret, rate),
        links=Links(pending, mailer, places, rate),
        notices=Notices(pending, mailer, places, rate),
        secret=secret,
        base_url=f"{settings.public_url}/api/auth",
    )


def open_accounts(auth: Auth, central: Central, addresses: EmailAddresses) -> Accounts:
    """What users do with their accounts and sessions."""
    return Accounts(
        auth,
        addresses.store,
        CentralOwnSessions(central),
        addresses.links,
        addresses.notices,
        addresses.secret,
        addresses.base_url,
    )


def open_password_resets(auth: Auth, addresses: EmailAddresses) -> PasswordResets:
    """New passwords, by codes and links in mails."""
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
