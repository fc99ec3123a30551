"""Resets forgotten passwords by a link or a code in an e-mail."""

import hmac
from dataclasses import dataclass
from urllib.parse import quote

from freehold.auth.email.codes import Codes, Purpose
from freehold.auth.email.links import Links, account_stamp
from freehold.auth.email.notices import Notices
from freehold.auth.emails import checked_email
from freehold.auth.errors import BadLink, WrongCode
from freehold.auth.outgoing_email import Language, OutgoingEmail
from freehold.auth.passwords.passwords import check_new_password
from freehold.auth.passwords.rules import PasswordRules
from freehold.auth.ports import AccountStore, PasswordHasher
from freehold.auth.proofs import Chosen, Proof, Way
from freehold.auth.types import Credential, User
from freehold.auth.verifications import OneTimeUse
from freehold.log import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class PasswordResets:
    """`base_url` is the public URL of `/api/auth`."""

    store: AccountStore
    hasher: PasswordHasher
    rules: PasswordRules
    codes: Codes
    links: Links
    notices: Notices
    secret: str
    base_url: str

    async def mail_link(self, email: str, redirect_to: str, language: Language, source: str) -> None:
        """Mail a link to the page that asks for the new password. The response does not reveal whether the user exists.

        Raises:
            InvalidEmail: not an address.
            RateLimited, MailUnavailable, MailRefused: see `Links.send`.
        """
        email = checked_email(email)
        found = await self.store.find_credential(email)

        def message(token: str) -> OutgoingEmail:
            url = f"{self.base_url}/reset-password/{token}?callbackURL={quote(redirect_to, safe='')}"
            return OutgoingEmail(to=email, kind="reset-link", language=language, secret=url)

        # The row for an unknown address is useless, but takes as long to write.
        value = f"{found.user.user_id}:{self._stamp(found)}" if found else ":"
        await self.links.send(message, email, source, "reset-password", value, has_reader=found is not None)

    async def mail_code(self, email: str, language: Language, source: str) -> None:
        """Mail a code that resets the password. The response does not reveal whether the user exists.

        Raises:
            InvalidEmail: not an address.
            RateLimited, MailUnavailable, MailRefused: see `Codes.send`.
        """
        purpose = Purpose(kind="forget-password", email=checked_email(email))
        found = await self.store.find_credential(purpose.email)
        await self.codes.send(purpose, language, source, has_reader=found is not None)

    async def check_link(self, token: str) -> None:
        """Raises `BadLink` if the link cannot be used (any longer)."""
        await self._owner(await self.links.find("reset-password", token))

    async def reset_by_link(self, token: str, password: str, language: Language = "en") -> None:
        """Set the password and revoke all sessions and API keys. This also verifies the address.

        The link works once, and only while address and password are unchanged.

        Raises:
            PasswordTooShort and its like: see `PasswordRules.check`; the link can be used again.
            BadLink: unknown, used, expired or void.
        """
        check_new_password(password)
        one_time_use = await self.links.find("reset-password", token)
        user = await self._owner(one_time_use)
        await self.rules.check(password, user.name, user.email)
        if not await self._reset(user, password, "reset-link", one_time_use, language):
            raise BadLink  # used at the same time

    async def reset_by_code(self, email: str, code: str, password: str, source: str, language: Language = "en") -> None:
        """The same with a code.

        Raises:
            PasswordTooShort and its like: see `PasswordRules.check`; the code can be used again.
            WrongCode, CodeExpired, TooManyTries: see `Codes.check`.
        """
        check_new_password(password)
        purpose = Purpose(kind="forget-password", email=email.lower())
        one_time_use = await self.codes.check(purpose, code, source)
        found = await self.store.find_credential(purpose.email)
        if found is not None:  # with the right code, the caller may learn the user's name from the errors
            await self.rules.check(password, found.user.name, found.user.email)
        if found is None or not await self._reset(found.user, password, "reset-code", one_time_use, language):
            raise WrongCode  # or used at the same time

    async def _reset(self, user: User, password: str, way: Way, one_time_use: OneTimeUse, language: Language) -> bool:
        chosen = Chosen(password_hash=await self.hasher.hash(password))
        proof = Proof(way=way, one_time_use=one_time_use, chosen=chosen)
        is_done = await self.store.prove(user, proof, self.links.clock()) is not None
        if is_done:
            log.info("user.password_reset", user_id=user.user_id)
            await self.notices.send("password-changed", user, language)
        return is_done

    async def _owner(self, one_time_use: OneTimeUse) -> User:
        user_id, _, stamp = one_time_use.value.partition(":")
        found = await self.store.find_credential_of(user_id)
        if found is None or not hmac.compare_digest(stamp, self._stamp(found)):
            raise BadLink
        return found.user

    def _stamp(self, found: Credential) -> str:
        return account_stamp(self.secret, found)
