"""What users do with their own account: change it and its password, list sign-in methods, delete it."""

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
    """Every method acts for the signed-in user. `base_url` is the public URL of `/api/auth`."""

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
        """The ways to sign in, oldest first."""
        return await self.store.list_accounts(asking.user_id)

    async def check_password(self, asking: SignedIn, password: str, client: Client) -> str:
        """The hash of the user's password, after verifying it.

        Raises:
            PasswordTooLong, NoPassword, WrongPassword: it is not theirs.
            LockedOut: too many wrong passwords, including those at sign-in.
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
        """Change the password. With `ends_others` all sessions end, this one too, and a new one is returned.

        API keys end with the other sessions, unless `keeps_keys`: someone in those sessions may have created them.

        Raises:
            PasswordTooShort and its like: the new one, see `PasswordRules.check`.
            NoPassword, WrongPassword: the current one, also if it has changed in the meantime.
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
            raise WrongPassword  # changed at the same time
        log.info("user.password_changed", user_id=asking.user_id)
        await self.notices.send("password-changed", asking.user, client.language)
        return signed_in_by(asking.user, session) if session else None

    async def list_sessions(self, asking: SignedIn) -> list[Session]:
        """The user's live sessions, with their tokens: hence only after a recent sign-in.

        Raises:
            SessionNotFresh: sign in again.
        """
        self.auth.require_fresh(asking)
        now = self.auth.clock()
        found = await self.store.list_sessions(asking.user_id, now)
        return [session for session in found if not self.auth.sessions.is_over(session, now)]

    async def end_session(self, asking: SignedIn, token: str) -> None:
        """End one of the user's sessions; does nothing for another user's."""
        await self.store.delete_own_session(asking.user_id, token)

    async def end_sessions(self, asking: SignedIn, *, keeps_keys: bool = False) -> None:
        """End all of the user's sessions, this one too, and their API keys unless `keeps_keys`."""
        await self.store.delete_own_sessions(asking.user_id, keeps_keys=keeps_keys)

    async def end_other_sessions(self, asking: SignedIn, *, keeps_keys: bool = False) -> None:
        """End all of the user's sessions but this one, and their API keys unless `keeps_keys`."""
        await self.store.delete_own_sessions(asking.user_id, but_token=asking.session.token, keeps_keys=keeps_keys)

    async def delete(self, asking: SignedIn, password: str | None, client: Client) -> None:
        """Delete the user; their database follows. Without a password the sign-in must be recent.

        Raises:
            NoPassword, WrongPassword, PasswordTooLong: it is not theirs.
            SessionNotFresh: sign in again, or send the password.
        """
        if password is not None:
            await self.check_password(asking, password, client)
        else:
            self.auth.require_fresh(asking)
        if not await self.store.delete_user(asking.user_id, self.auth.clock(), asking.session_id):
            raise SessionNotFresh  # it has ended in the meantime
        log.info("user.deleted", user_id=asking.user_id)

    async def mail_deletion_link(self, asking: SignedIn, callback_url: str, language: Language) -> None:
        """Mail a link that deletes the user, if they are signed in when they follow it.

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
        """Delete the user by the link's token. Raises `BadLink` if the link is another user's or no longer valid."""
        one_time_use = await self.links.find("delete-account", token)
        user_id, _, stamp = one_time_use.value.partition(":")
        found = await self.store.find_credential_of(asking.user_id)
        if found is None or user_id != asking.user_id or not hmac.compare_digest(stamp, self._stamp(found)):
            raise BadLink
        if not await self.store.delete_user(asking.user_id, self.auth.clock(), asking.session_id, one_time_use):
            raise BadLink  # used at the same time
        log.info("user.deleted", user_id=asking.user_id)

    def _stamp(self, found: Credential) -> str:
        return account_stamp(self.secret, found)
