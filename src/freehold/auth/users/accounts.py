"""What users do with their own account: change it and its password, see how they sign in, delete it."""

import hmac
from dataclasses import dataclass
from urllib.parse import quote

from freehold.auth.email.links import Links, account_stamp
from freehold.auth.email.notices import Notices
from freehold.auth.errors import BadLink, NoPassword, SessionNotFresh, WrongPassword
from freehold.auth.outgoing_email import Language, OutgoingEmail
from freehold.auth.passwords.passwords import check_length
from freehold.auth.places import place_of
from freehold.auth.ports import AccountStore
from freehold.auth.service import Auth
from freehold.auth.sessions.sessions import signed_in_by
from freehold.auth.types import Account, Client, Credential, Session, SignedIn, UserChanges
from freehold.errors import NotFound
from freehold.log import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class Accounts:
    """`base_url` is where `/api/auth` is found from outside. Every method acts for whoever is signed in."""

    auth: Auth
    store: AccountStore
    links: Links
    notices: Notices
    secret: str
    base_url: str

    async def update(self, asking: SignedIn, changes: UserChanges) -> None:
        """Change name or picture. Raises `NotFound` if the user is gone."""
        if not await self.store.update_user(asking.user_id, changes, self.auth.clock()):
            raise NotFound("the user no longer exists")

    async def list_accounts(self, asking: SignedIn) -> list[Account]:
        """The ways to sign in, the oldest first."""
        return await self.store.list_accounts(asking.user_id)

    async def check_password(self, asking: SignedIn, password: str, client: Client) -> str:
        """The hash that the password has.

        Raises:
            PasswordTooLong, NoPassword, WrongPassword: it is not theirs.
            LockedOut: too many wrong ones; those at sign-in count as well.
        """
        check_length(password)
        found = await self.store.find_credential_of(asking.user_id)
        password_hash = found.password_hash if found else None
        async with self.auth.attempt(asking.user.email, client.source) as attempt:
            attempt.is_right = await self.auth.hasher.verify(password, password_hash)
        if found is not None and password_hash is None:
            raise NoPassword
        if not attempt.is_right or password_hash is None:
            raise WrongPassword
        return password_hash

    async def change_password(
        self, asking: SignedIn, current: str, new: str, client: Client, *, ends_others: bool, keeps_keys: bool = False
    ) -> SignedIn | None:
        """Set another password. When all other sessions are to end, this one does too, and a new one is given.

        API keys end with the other sessions, unless they are kept: whoever had one of those may have made them.

        Raises:
            PasswordTooShort and its like: the new one, see `PasswordRules.check`.
            NoPassword, WrongPassword: the current one, also when it has been changed meanwhile.
        """
        await self.auth.rules.check(new, asking.user.name, asking.user.email)
        old_hash = await self.check_password(asking, current, client)
        new_hash = await self.auth.hasher.hash(new)
        now = self.auth.clock()
        session = self.auth.new_session(asking.user_id, client, now, remember=True) if ends_others else None
        is_done = await self.store.replace_password(
            asking.user_id, old_hash, new_hash, now, session, keeps_keys=keeps_keys
        )
        if not is_done:
            raise WrongPassword  # it was changed at the same time
        log.info("user.password_changed", user_id=asking.user_id)
        await self.notices.send("password-changed", asking.user, client.language)
        return signed_in_by(asking.user, session) if session else None

    async def list_sessions(self, asking: SignedIn) -> list[Session]:
        """Their live sessions, tokens and all: so only for whoever has signed in within a day.

        Raises:
            SessionNotFresh: sign in again.
        """
        self.auth.require_fresh(asking)
        now = self.auth.clock()
        found = await self.store.list_sessions(asking.user_id, now)
        return [session for session in found if not self.auth.sessions.is_over(session, now)]

    async def end_session(self, asking: SignedIn, token: str) -> None:
        """End one of theirs; nothing happens with anyone else's."""
        await self.store.delete_own_session(asking.user_id, token)

    async def end_sessions(self, asking: SignedIn, *, keeps_keys: bool = False) -> None:
        """End all of theirs, this one too, and their API keys unless they are kept."""
        await self.store.delete_own_sessions(asking.user_id, keeps_keys=keeps_keys)

    async def end_other_sessions(self, asking: SignedIn, *, keeps_keys: bool = False) -> None:
        """End all of theirs but this one, and their API keys unless they are kept."""
        await self.store.delete_own_sessions(asking.user_id, but_token=asking.session.token, keeps_keys=keeps_keys)

    async def delete(self, asking: SignedIn, password: str | None, client: Client) -> None:
        """Delete the user; their database follows. Without a password the sign-in must be less than a day ago.

        Raises:
            NoPassword, WrongPassword, PasswordTooLong: it is not theirs.
            SessionNotFresh: sign in again, or give the password.
        """
        if password is not None:
            await self.check_password(asking, password, client)
        else:
            self.auth.require_fresh(asking)
        if not await self.store.delete_user(asking.user_id, self.auth.clock(), asking.session_id):
            raise SessionNotFresh  # it has ended at the same time
        log.info("user.deleted", user_id=asking.user_id)

    async def mail_deletion_link(self, asking: SignedIn, callback_url: str, language: Language) -> None:
        """Mail a link that deletes the user, for whoever is signed in as them.

        Raises:
            RateLimited, MailUnavailable, MailRefused: see `Links.send`.
        """
        email, callback = asking.user.email, quote(callback_url or "/", safe="")

        def message(token: str) -> OutgoingEmail:
            url = f"{self.base_url}/delete-user/callback?token={token}&callbackURL={callback}"
            return OutgoingEmail(to=email, kind="delete-link", language=language, secret=url)

        found = await self.store.find_credential_of(asking.user_id)
        value = f"{asking.user_id}:{self._stamp(found)}" if found else ":"
        await self.links.send(message, email, place_of(asking.user_id), "delete-account", value)

    async def delete_by_link(self, asking: SignedIn, token: str) -> None:
        """Delete the user whose link it is. Raises `BadLink` if that is not who asks, or the link is of no use."""
        one_time_use = await self.links.find("delete-account", token)
        user_id, _, stamp = one_time_use.value.partition(":")
        found = await self.store.find_credential_of(asking.user_id)
        if found is None or user_id != asking.user_id or not hmac.compare_digest(stamp, self._stamp(found)):
            raise BadLink
        if not await self.store.delete_user(asking.user_id, self.auth.clock(), asking.session_id, one_time_use):
            raise BadLink  # it was used at the same time
        log.info("user.deleted", user_id=asking.user_id)

    def _stamp(self, found: Credential) -> str:
        return account_stamp(self.secret, found)
