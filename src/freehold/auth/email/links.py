"""Links in e-mails: their secret tokens, and the limit on links per address."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from freehold.auth.email.mail_quota import MailQuota, TooSoon, forget_mail, note_mail
from freehold.auth.errors import BadLink, MailUnavailable
from freehold.auth.outgoing_email import OutgoingEmail
from freehold.auth.places import Places
from freehold.auth.ports import Mailer
from freehold.auth.random_ids import random_id
from freehold.auth.types import Credential
from freehold.auth.verifications import OneTimeUse, Rows, Verification, VerificationStore
from freehold.dates import utc_now
from freehold.errors import CentralUnavailable, RateLimited
from freehold.limiting import Rate

LinkKind = Literal["reset-password", "delete-account", "sign-up"]

LIFETIME: dict[LinkKind, timedelta] = {
    "reset-password": timedelta(hours=1),
    "delete-account": timedelta(days=1),
    "sign-up": timedelta(hours=1),
}


def random_token() -> str:
    """24 characters of `a-zA-Z0-9`, 142 bits."""
    return random_id(24)


@dataclass(frozen=True, slots=True)
class Links:
    """Mails links with tokens that work once. Only hashes of the tokens are stored."""

    verifications: VerificationStore
    mailer: Mailer
    places: Places
    rate: Rate
    clock: Callable[[], datetime] = utc_now
    new_token: Callable[[], str] = random_token

    async def send(
        self,
        message: Callable[[str], OutgoingEmail],
        email: str,
        source: str,
        kind: LinkKind | None = None,
        value: str = "",
        *,
        has_reader: bool = True,
    ) -> None:
        """Mail what `message` returns for a new token. With `kind`, the token can be used once and stands for `value`.

        `source` is the network address of the request (`Client.source`), or the account that is held responsible for
        it. Without a reader everything but the mail happens, so that nothing differs for an observer.

        Raises:
            RateLimited: too many links for this address.
            MailUnavailable, MailRefused: the mail was not sent. The former is not counted as sent.
        """
        token, now = self.new_token(), self.clock()
        quota = MailQuota("link", email, await self.places.at(email, source))

        def note(rows: Rows) -> TooSoon | None:
            too_soon = note_mail(rows, quota, self.rate, now)
            if too_soon is None and kind is not None:
                rows[_identifier(kind, token)] = Verification(value=value, expires_at=now + LIFETIME[kind])
            return too_soon

        if too_soon := await self.verifications.update(quota.identifiers, note):
            raise RateLimited(too_soon.wait_s)
        try:
            written = message(token)
            await (self.mailer.send(written) if has_reader else self.mailer.rehearse(written))
        except MailUnavailable:
            with suppress(CentralUnavailable):
                await self.verifications.update(quota.identifiers, lambda rows: forget_mail(rows, quota, now))
            raise

    async def find(self, kind: LinkKind, token: str) -> OneTimeUse:
        """A one-time use with the token's value. Raises `BadLink` if the token is unknown, used or expired."""
        found = await self.verifications.find(_identifier(kind, token))
        if found is None or found.expires_at <= self.clock():
            raise BadLink
        return OneTimeUse(identifier=_identifier(kind, token), value=found.value)


def fingerprint(secret: str, *parts: str) -> str:
    """A keyed hash of the parts."""
    digest = hmac.digest(secret.encode(), "\0".join(("link", *parts)).encode(), "sha256")
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


def account_stamp(secret: str, found: Credential) -> str:
    """Changes with the address, its first proof and the password, so that links bound to it become void."""
    is_proved = () if found.user.email_verified else ("not proved",)
    return fingerprint(secret, found.user.email, found.password_hash or "", *is_proved)


def _identifier(kind: LinkKind, token: str) -> str:
    digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
    return f"{kind}:{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
