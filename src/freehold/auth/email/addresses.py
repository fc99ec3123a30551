"""Verifies e-mail addresses and changes them, by a link or a code in an e-mail.

The token of a link is a JSON Web Token in better-auth's format, signed with the secret (HS256). It also contains

- the user (`sub`), so that it is void for a later user of the address;
- the session that asked for it (`sid`) and a fingerprint of the password at that time (`pwd`): both belong to the
  person who asked, and are kept when the link is the first proof of the address;
- the sign-up that it belongs to (`jti`): the password, name and picture chosen there wait in the database and are
  applied when this link is followed, so the sign-up whose link is followed wins, not the first one.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import jwt
import msgspec

from freehold.auth.email.codes import Codes, Purpose
from freehold.auth.email.links import Links, fingerprint
from freehold.auth.email.notices import Notices
from freehold.auth.emails import checked_email
from freehold.auth.errors import BadLink, EmailMismatch, EmailTaken, EmailVerified, LinkExpired, SameEmail, WrongCode
from freehold.auth.outgoing_email import EmailKind, Language, OutgoingEmail
from freehold.auth.places import place_of
from freehold.auth.ports import AccountStore
from freehold.auth.proofs import Chosen, Kept, Proof, in_hand
from freehold.auth.types import Credential, SignedIn, User
from freehold.dates import utc_now
from freehold.log import get_logger

LINK_LIFETIME = timedelta(hours=1)
_CHANGE = "change-email-verification"

log = get_logger()


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """The user after following a link; whether the address changed, or was verified for the first time."""

    user: User
    is_changed: bool
    is_first: bool


@dataclass(frozen=True, slots=True)
class EmailAddresses:
    """`base_url` is the public URL of `/api/auth`."""

    store: AccountStore
    codes: Codes
    links: Links
    notices: Notices
    secret: str
    base_url: str
    clock: Callable[[], datetime] = utc_now

    async def mail_link(
        self, email: str, callback_url: str, language: Language, source: str, asking: SignedIn | None
    ) -> None:
        """Mail a link that verifies the address. A caller who is not signed in learns nothing about it.

        Raises:
            InvalidEmail: not an address.
            EmailMismatch, EmailVerified: it is not the caller's address, or is already verified.
            RateLimited, MailUnavailable, MailRefused: see `Links.send`.
        """
        email = checked_email(email)
        if asking is not None and asking.user.email != email:
            raise EmailMismatch
        if asking is not None and asking.user.email_verified:
            raise EmailVerified
        found = await self.store.find_credential(email)
        user = found.user if found and not found.user.email_verified else None
        asked_in = self._asked_in(asking, found) if found else {}
        token = self._token(email=email, sub=user.user_id if user else "", **asked_in)
        await self._mail_link(
            "verify-link", email, token, callback_url, language, source=source, has_reader=user is not None
        )

    async def mail_sign_up_link(
        self, email: str, chosen: Chosen, callback_url: str, language: Language, source: str
    ) -> None:
        """Mail a link that verifies the address and applies what was chosen in this sign-up.

        Raises:
            InvalidEmail: not an address.
            RateLimited, MailUnavailable, MailRefused: see `Links.send`.
        """
        email = checked_email(email)
        found = await self.store.find_credential(email)
        user = found.user if found and not found.user.email_verified else None

        def message(sign_up: str) -> OutgoingEmail:
            token = self._token(email=email, sub=user.user_id if user else "", jti=sign_up)
            return OutgoingEmail(
                to=email, kind="sign-up-link", language=language, secret=self._url(token, callback_url)
            )

        # Also written for an address that needs no link, so that both cases take the same time.
        value = msgspec.json.encode(chosen).decode()
        await self.links.send(message, email, source, "sign-up", value, has_reader=user is not None)

    async def mail_change_link(self, asking: SignedIn, new_email: str, callback_url: str, language: Language) -> None:
        """Mail a link to the new address. The response does not reveal whether the address is taken.

        Raises:
            InvalidEmail, SameEmail: not an address, or the current one.
            RateLimited, MailUnavailable, MailRefused: see `Links.send`.
        """
        user, new_email = asking.user, _other_email(asking.user, new_email)
        is_free = await self.store.find_credential(new_email) is None
        token = self._token(
            email=user.email, sub=user.user_id, sid=asking.session_id, updateTo=new_email, requestType=_CHANGE
        )
        await self._mail_link(
            "change-email-link",
            new_email,
            token,
            callback_url,
            language,
            source=place_of(user.user_id),
            has_reader=is_free,
        )

    async def follow_link(self, token: str, asking: SignedIn | None, language: Language = "en") -> Followed:
        """Verify or change the address. `asking` is the session in the browser that follows the link, if any.

        Following a verification link again does no harm.

        Raises:
            LinkExpired: older than an hour.
            BadLink: forged, or the account, its address or the session that asked no longer exists.
            EmailTaken: another user has taken the new address.
        """
        claims = self._claims(token)
        found = await self.store.find_credential(claims["email"])
        if found is None or claims.get("sub", found.user.user_id) != found.user.user_id:
            raise BadLink  # the account has changed since the link was sent
        if "updateTo" in claims:
            proof = _change_proof(claims, in_hand(asking, found))
        else:
            proof = await self._verify_proof(claims, found, in_hand(asking, found))
        proved = await self.store.prove(found.user, proof, self.clock())
        if proved is None:
            raise BadLink  # changed at the same time
        is_new = bool(proof.new_email)
        log.info("user.email_verified", user_id=proved.user.user_id, is_new=is_new)
        if is_new:
            await self.notices.send("address-changed", found.user, language)
        return Followed(user=proved.user, is_changed=is_new, is_first=proved.is_first)

    async def _verify_proof(self, claims: dict[str, Any], found: Credential, own: Kept) -> Proof:
        sign_up = claims.get("jti")
        if isinstance(sign_up, str) and not found.user.email_verified:
            one_time_use = await self.links.find("sign-up", sign_up)
            chosen = msgspec.json.decode(one_time_use.value, type=Chosen)
            return Proof(way="verify-link", one_time_use=one_time_use, chosen=chosen, kept=own)
        session_ids, password_hash = own.session_ids, own.password_hash
        if isinstance(claims.get("sid"), str):
            session_ids = (*session_ids, claims["sid"])
        if hmac.compare_digest(str(claims.get("pwd")), self._password_stamp(found)):
            password_hash = found.password_hash
        return Proof(way="verify-link", kept=Kept(session_ids=session_ids, password_hash=password_hash))

    def address_changed_by(self, token: str) -> str | None:
        """The address that the link replaces; None for a verification link. Raises `LinkExpired`, `BadLink`."""
        claims = self._claims(token)
        return claims["email"] if claims.get("updateTo") is not None else None

    async def mail_code(self, email: str, language: Language, source: str) -> None:
        """Mail a code that verifies the address. The response does not reveal whether a user has it.

        Raises:
            InvalidEmail: not an address.
            RateLimited, MailUnavailable, MailRefused: see `Codes.send`.
        """
        purpose = Purpose(kind="email-verification", email=checked_email(email))
        found = await self.store.find_credential(purpose.email)
        await self.codes.send(purpose, language, source, has_reader=found is not None)

    async def verify_by_code(
        self, email: str, code: str, source: str, asking: SignedIn | None, chosen: Chosen | None = None
    ) -> User:
        """The user with the verified address. `asking` is the session in which the code was entered, if any.

        If this is the first proof of the address, `chosen` is applied to the account.

        Raises:
            InvalidEmail: not an address.
            WrongCode, CodeExpired, TooManyTries: see `Codes.check`.
        """
        purpose = Purpose(kind="email-verification", email=checked_email(email))
        one_time_use = await self.codes.check(purpose, code, source)
        found = await self.store.find_credential(purpose.email)
        if found is None:
            raise WrongCode  # the user has just been deleted
        proof = Proof(way="verify-code", one_time_use=one_time_use, kept=in_hand(asking, found), chosen=chosen)
        proved = await self.store.prove(found.user, proof, self.clock())
        if proved is None:
            raise WrongCode  # used at the same time
        return proved.user

    async def mail_change_code(self, user: User, new_email: str, language: Language) -> None:
        """Mail a code to the new address. The response does not reveal whether the address is taken.

        Raises:
            InvalidEmail, SameEmail: not an address, or the current one.
            RateLimited, MailUnavailable, MailRefused: see `Codes.send`.
        """
        new_email = _other_email(user, new_email)
        is_free = await self.store.find_credential(new_email) is None
        await self.codes.send(_change(user, new_email), language, place_of(user.user_id), has_reader=is_free)

    async def change_by_code(self, asking: SignedIn, new_email: str, code: str, language: Language = "en") -> User:
        """The user with the new address.

        Raises:
            InvalidEmail, SameEmail: not an address, or the current one.
            WrongCode, CodeExpired, TooManyTries: see `Codes.check`.
        """
        user, new_email = asking.user, _other_email(asking.user, new_email)
        one_time_use = await self.codes.check(_change(user, new_email), code, place_of(user.user_id))
        found = await self.store.find_credential_of(user.user_id)
        if found is None:
            raise WrongCode  # the user has just been deleted
        proof = Proof(
            way="change-code",
            one_time_use=one_time_use,
            kept=in_hand(asking, found),
            asked_by=asking.session_id,
            new_email=new_email,
        )
        try:
            changed = await self.store.prove(user, proof, self.clock())
        except EmailTaken as error:  # taken since the code was sent
            raise WrongCode from error
        if changed is None:
            raise WrongCode  # used at the same time
        log.info("user.email_changed", user_id=user.user_id)
        await self.notices.send("address-changed", user, language)
        return changed.user

    async def _mail_link(
        self,
        kind: EmailKind,
        email: str,
        token: str,
        callback_url: str,
        language: Language,
        *,
        source: str,
        has_reader: bool,
    ) -> None:
        message = OutgoingEmail(to=email, kind=kind, language=language, secret=self._url(token, callback_url))
        await self.links.send(lambda _token: message, email, source, has_reader=has_reader)

    def _url(self, token: str, callback_url: str) -> str:
        return f"{self.base_url}/verify-email?token={token}&callbackURL={quote(callback_url or '/', safe='')}"

    def _asked_in(self, asking: SignedIn | None, found: Credential) -> dict[str, str]:
        """Claims that identify the session and password of the caller who asked for the link."""
        own = in_hand(asking, found)
        return {"sid": own.session_ids[0], "pwd": self._password_stamp(found)} if own.session_ids else {}

    def _password_stamp(self, found: Credential) -> str:
        return fingerprint(self.secret, "password", found.user.user_id, found.password_hash or "")

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
            raise BadLink from error
        if not isinstance(claims["exp"], int | float) or claims["exp"] <= self.clock().timestamp():
            raise LinkExpired
        new_email = claims.get("updateTo")
        if not isinstance(claims["email"], str) or (claims.get("requestType") == _CHANGE) != (
            isinstance(new_email, str)
        ):
            raise BadLink
        return claims


def _change_proof(claims: dict[str, Any], own: Kept) -> Proof:
    """The proof for a change of address; the account's own session in this browser shows that its user asked for it."""
    asked_by = claims.get("sid")
    if not isinstance(asked_by, str) or not asked_by:
        raise BadLink  # the session that asked is missing
    if own.session_ids:
        own = Kept(session_ids=(*own.session_ids, asked_by), password_hash=own.password_hash)
    return Proof(way="change-link", kept=own, asked_by=asked_by, new_email=claims["updateTo"])


def _change(user: User, new_email: str) -> Purpose:
    return Purpose(kind="change-email", email=new_email, old_email=user.email)


def _other_email(user: User, new_email: str) -> str:
    new_email = checked_email(new_email)
    if new_email == user.email:
        raise SameEmail
    return new_email
