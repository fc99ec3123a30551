"""Whose an e-mail address is: verifying the present one, changing to another, by a link or a code in a mail.

The token of a link is a JSON Web Token as better-auth makes it, signed with the secret (HS256); besides, it names
the user, so that it is void for whoever has the address later.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import jwt
import msgspec
import structlog

from freehold.auth.account_ports import AccountStore
from freehold.auth.code_sign_in import checked_email
from freehold.auth.codes import Codes, Purpose
from freehold.auth.dates import utc_now
from freehold.auth.errors import (
    BadLink,
    EmailMismatch,
    EmailTaken,
    EmailVerified,
    LinkExpired,
    SameEmail,
    WrongCode,
)
from freehold.auth.letters import Language, Letter, LetterKind
from freehold.auth.links import Links
from freehold.auth.places import place_of
from freehold.auth.types import User

LINK_LIFETIME = timedelta(hours=1)
_CHANGE = "change-email-verification"

log = structlog.get_logger()


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """What following a link has done: the user now; whether the address is another, or was never verified."""

    user: User
    is_changed: bool
    is_first: bool


@dataclass(frozen=True, slots=True)
class EmailAddresses:
    """`base_url` is where `/api/auth` is found from outside."""

    store: AccountStore
    codes: Codes
    links: Links
    secret: str
    base_url: str
    clock: Callable[[], datetime] = utc_now

    async def mail_link(
        self, email: str, callback_url: str, language: Language, source: str, asking: User | None
    ) -> None:
        """Mail a link that verifies the address. Who is not signed in learns nothing about it.

        Raises:
            InvalidEmail: not an address.
            EmailMismatch, EmailVerified: it is not that of who asks, or needs no verifying.
            RateLimited, MailUnavailable, MailRefused: see `Links.send`.
        """
        email = checked_email(email)
        if asking is not None and asking.email != email:
            raise EmailMismatch("this is not the address of who is signed in")
        if asking is not None and asking.email_verified:
            raise EmailVerified("the address is verified already")
        found = await self.store.find_credential(email)
        user = found.user if found and not found.user.email_verified else None
        token = self._token(email=email, sub=user.user_id if user else "")
        await self._mail_link(
            "verify-link", email, token, callback_url, language, source=source, has_reader=user is not None
        )

    async def mail_change_link(
        self, user: User, new_email: str, callback_url: str, language: Language
    ) -> None:
        """Mail a link to the new address. Nothing tells whether somebody else has it.

        Raises:
            InvalidEmail, SameEmail: not an address, or no other one.
            RateLimited, MailUnavailable, MailRefused: see `Links.send`.
        """
        new_email = _other_email(user, new_email)
        is_free = await self.store.find_credential(new_email) is None
        token = self._token(email=user.email, sub=user.user_id, updateTo=new_email, requestType=_CHANGE)
        await self._mail_link(
            "change-email-link",
            new_email,
            token,
            callback_url,
            language,
            source=place_of(user.user_id),
            has_reader=is_free,
        )

    async def follow_link(self, token: str) -> Followed:
        """Do what the link is for.

        Following a link that verifies again does no harm.

        Raises:
            LinkExpired: older than an hour.
            BadLink: forged, or the user or the address is not there any more.
            EmailTaken: somebody else has the new address by now.
        """
        claims = self._claims(token)
        found = await self.store.find_credential(claims["email"])
        if found is None or claims.get("sub", found.user.user_id) != found.user.user_id:
            raise BadLink("this link is void, as the account has changed")
        new_email, now = claims.get("updateTo"), self.clock()
        if new_email is None:
            user = await self.store.verify_email(found.user, now)
        else:
            user = await self.store.change_email(found.user, new_email, now)
        if user is None:
            raise BadLink("this link is void, as the account has changed")
        log.info("user.email_verified", user_id=user.user_id, is_new=new_email is not None)
        return Followed(user=user, is_changed=new_email is not None, is_first=not found.user.email_verified)

    def address_changed_by(self, token: str) -> str | None:
        """The address that a link replaces; None if it replaces none. Raises `LinkExpired`, `BadLink`."""
        claims = self._claims(token)
        return claims["email"] if claims.get("updateTo") is not None else None

    async def mail_code(self, email: str, language: Language, source: str) -> None:
        """Mail a code that verifies the address. Nobody learns whether there is such a user.

        Raises:
            InvalidEmail: not an address.
            RateLimited, MailUnavailable, MailRefused: see `Codes.send`.
        """
        purpose = Purpose(kind="email-verification", email=checked_email(email))
        found = await self.store.find_credential(purpose.email)
        await self.codes.send(purpose, language, source, has_reader=found is not None)

    async def verify_by_code(self, email: str, code: str, source: str) -> User:
        """The user, with the address verified.

        Raises:
            InvalidEmail: not an address.
            WrongCode, CodeExpired, TooManyTries: see `Codes.check`.
        """
        purpose = Purpose(kind="email-verification", email=checked_email(email))
        ticket = await self.codes.check(purpose, code, source)
        found = await self.store.find_credential(purpose.email)
        user = await self.store.verify_email(found.user, self.clock(), ticket) if found else None
        if user is None:
            raise WrongCode("this code was used at this moment")
        return user

    async def mail_change_code(self, user: User, new_email: str, language: Language) -> None:
        """Mail a code to the new address. Nothing tells whether somebody else has it.

        Raises:
            InvalidEmail, SameEmail: not an address, or no other one.
            RateLimited, MailUnavailable, MailRefused: see `Codes.send`.
        """
        new_email = _other_email(user, new_email)
        is_free = await self.store.find_credential(new_email) is None
        await self.codes.send(_change(user, new_email), language, place_of(user.user_id), has_reader=is_free)

    async def change_by_code(self, user: User, new_email: str, code: str) -> User:
        """The user, with the new address.

        Raises:
            InvalidEmail, SameEmail: not an address, or no other one.
            WrongCode, CodeExpired, TooManyTries: see `Codes.check`.
        """
        new_email = _other_email(user, new_email)
        ticket = await self.codes.check(_change(user, new_email), code, place_of(user.user_id))
        try:
            changed = await self.store.change_email(user, new_email, self.clock(), ticket)
        except EmailTaken as error:  # since the code was sent
            raise WrongCode("somebody else has this address by now") from error
        if changed is None:
            raise WrongCode("this code was used at this moment")
        log.info("user.email_changed", user_id=user.user_id)
        return changed

    async def _mail_link(
        self,
        kind: LetterKind,
        email: str,
        token: str,
        callback_url: str,
        language: Language,
        *,
        source: str,
        has_reader: bool,
    ) -> None:
        url = f"{self.base_url}/verify-email?token={token}&callbackURL={quote(callback_url or '/', safe='')}"
        letter = Letter(to=email, kind=kind, language=language, secret=url)
        await self.links.send(lambda _token: letter, email, source, has_reader=has_reader)

    def _token(self, **claims: str) -> str:
        now = self.clock()
        full = {**claims, "iat": now, "exp": now + LINK_LIFETIME}
        return jwt.encode(full, self.secret, algorithm="HS256", headers={"typ": None})

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self.secret,
                algorithms=["HS256"],
                options={"require": ["email", "exp"], "verify_exp": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, ValueError) as error:
            raise BadLink("this link is not one of ours") from error
        if not isinstance(claims["exp"], int | float) or claims["exp"] <= self.clock().timestamp():
            raise LinkExpired("this link has expired; ask for another one")
        new_email = claims.get("updateTo")
        if not isinstance(claims["email"], str) or (claims.get("requestType") == _CHANGE) != (
            isinstance(new_email, str)
        ):
            raise BadLink("this link is not one of ours")
        return claims


def _change(user: User, new_email: str) -> Purpose:
    return Purpose(kind="change-email", email=new_email, old_email=user.email)


def _other_email(user: User, new_email: str) -> str:
    new_email = checked_email(new_email)
    if new_email == user.email:
        raise SameEmail("this is the address already")
    return new_email
