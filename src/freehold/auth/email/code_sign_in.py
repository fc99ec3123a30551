"""Signing in with a code from a mail; who is new becomes a user by it."""

from dataclasses import dataclass

from msgspec.structs import replace

from freehold.audit.types import ANONYMOUS, Event
from freehold.auth.email.codes import Codes, Purpose
from freehold.auth.emails import checked_email
from freehold.auth.errors import CodeExpired, EmailTaken, TooManyTries, WrongCode
from freehold.auth.outgoing_email import Language
from freehold.auth.ports import AccountStore
from freehold.auth.proofs import Proof
from freehold.auth.service import Auth
from freehold.auth.types import USER_ROLE, Client, NewUser, SignedIn, User
from freehold.auth.verifications import OneTimeUse
from freehold.errors import NotFound

# What the audit trail calls them.
_REASONS = {WrongCode: "wrong_code", CodeExpired: "code_expired", TooManyTries: "too_many_tries"}


@dataclass(frozen=True, slots=True)
class CodeSignIn:
    """Whoever reads the mail of an address is its user."""

    auth: Auth
    store: AccountStore
    codes: Codes

    async def send(self, email: str, language: Language, source: str) -> None:
        """Mail a code to this address, whether someone has it here or not.

        Raises:
            InvalidEmail: not an address.
            RateLimited, MailUnavailable, MailRefused: see `Codes.send`.
        """
        await self.codes.send(Purpose(kind="sign-in", email=checked_email(email)), language, source)

    async def sign_in(self, email: str, code: str, new: NewUser, client: Client) -> SignedIn:
        """A session for whoever has the code. `new` says what a new user is called.

        A user who has never verified the address may not be the one who signed up with it: all that signs in to
        that account, its password too, ends in the transaction that uses up the code.

        Raises:
            WrongCode, CodeExpired, TooManyTries: see `Codes.check`.
            Banned: the user is banned.
        """
        purpose = Purpose(kind="sign-in", email=email.lower())
        found = await self.store.find_credential(purpose.email)
        user = found.user if found else None
        one_time_use = await self._checked(purpose, code, client.source, user)
        if user is None:
            new_user = self.auth.new_user(new, USER_ROLE, self.auth.clock())
            try:
                return await self.auth.start_user(replace(new_user, email_verified=True), client)
            except EmailTaken:  # at the same time, by a sign-up with a password
                found = await self.store.find_credential(purpose.email)
                user = found.user if found else None
        return await self._enter(user, one_time_use, client)

    async def _checked(self, purpose: Purpose, code: str, source: str, user: User | None) -> OneTimeUse | None:
        """Uses up the code, but for an address that is to be proved with it: then it is used up with that."""
        try:
            if user is not None and not user.email_verified:
                return await self.codes.check(purpose, code, source)
            await self.codes.use(purpose, code, source)
        except (WrongCode, CodeExpired, TooManyTries) as error:
            await self.auth.audit.record(_failed(user, _REASONS[type(error)]))
            raise
        return None

    async def _enter(self, user: User | None, one_time_use: OneTimeUse | None, client: Client) -> SignedIn:
        if user is not None and (one_time_use is not None or not user.email_verified):
            proof = Proof(way="sign-in-code", one_time_use=one_time_use)
            proved = await self.store.prove(user, proof, self.auth.clock())
            user = proved.user if proved else None
        if user is None:
            raise WrongCode  # it was used, or the user deleted, at the same time
        try:
            return await self.auth.start_session(user, client, method="code")
        except NotFound as error:
            raise WrongCode from error  # deleted at the same time


def _failed(user: User | None, reason: str) -> Event:
    target = f"user:{user.user_id}" if user else ""
    return Event("user.sign_in_failed", target, {"reason": reason}, actor=ANONYMOUS)
