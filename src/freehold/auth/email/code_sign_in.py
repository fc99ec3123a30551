"""Signs users in with a code from an e-mail, and creates new users this way."""

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

# The reasons in the audit trail.
_REASONS = {WrongCode: "wrong_code", CodeExpired: "code_expired", TooManyTries: "too_many_tries"}


@dataclass(frozen=True, slots=True)
class CodeSignIn:
    """Signs in anyone who can read the mail of an address."""

    auth: Auth
    store: AccountStore
    codes: Codes

    async def send(self, email: str, language: Language, source: str) -> None:
        """Mail a code to this address, whether a user has it or not.

        Raises:
            InvalidEmail: not an address.
            RateLimited, MailUnavailable, MailRefused: see `Codes.send`.
        """
        await self.codes.send(Purpose(kind="sign-in", email=checked_email(email)), language, source)

    async def sign_in(self, email: str, code: str, new: NewUser, client: Client) -> SignedIn:
        """A session for the user with this address, created as `new` if there is none.

        If the address was never verified, someone else may have signed up with it: the transaction that uses up the
        code also revokes everything that signs in to the account, including its password.

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
            except EmailTaken:  # a sign-up with a password at the same time
                found = await self.store.find_credential(purpose.email)
                user = found.user if found else None
        return await self._enter(user, one_time_use, client)

    async def _checked(self, purpose: Purpose, code: str, source: str, user: User | None) -> OneTimeUse | None:
        """Use up the code; but for an unverified address, return it to be used up together with the proof."""
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
            raise WrongCode  # the code was used, or the user deleted, at the same time
        try:
            return await self.auth.start_session(user, client, method="code")
        except NotFound as error:
            raise WrongCode from error  # deleted at the same time


def _failed(user: User | None, reason: str) -> Event:
    target = f"user:{user.user_id}" if user else ""
    return Event("user.sign_in_failed", target, {"reason": reason}, actor=ANONYMOUS)
