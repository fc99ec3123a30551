"""What administrators do with users: find, create, change, ban, impersonate and remove them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import UNSET
from msgspec.structs import replace

from freehold.auth.email.notices import Notices
from freehold.auth.emails import checked_email
from freehold.auth.errors import (
    AdminsActAsThemselves,
    AdminSessionGone,
    Banned,
    CannotBanYourself,
    CannotRemoveYourself,
    NoSuchUser,
    NotImpersonating,
)
from freehold.auth.passwords.passwords import check_new_password
from freehold.auth.service import Auth
from freehold.auth.sessions.sessions import signed_in_by
from freehold.auth.types import USER_ROLE, Client, NewUser, Session, SignedIn, User
from freehold.auth.users.admin_types import NO_REASON, CreatedUser, Search, UserEdit, UserFilter, UserPage, UserQuery
from freehold.dates import to_iso
from freehold.errors import NotFound


class AdminStore(Protocol):
    """Every method is one transaction that includes the audit event. All raise `CentralUnavailable`."""

    async def find_user(self, user_id: str) -> User | None:
        """The user, if there is one."""

    async def list_users(self, query: UserQuery) -> UserPage:
        """A page of users. Raises `NoSuchField` if the query names an unknown field."""

    async def create_user(self, user: User, password_hash: str | None) -> None:
        """Write user, account and tenant. Raises `EmailTaken`."""

    async def edit_user(self, user_id: str, edit: UserEdit, now: datetime) -> User | None:
        """The changed user; None if there is none. A ban ends their sessions.

        Their impersonations end if they are banned or no longer an administrator.

        Raises:
            EmailTaken: someone else has the address.
        """

    async def replace_password(self, user_id: str, password_hash: str, now: datetime) -> bool:
        """Set the user's password and end all their sessions and API keys; False if there is no such user."""

    async def list_sessions(self, user_id: str, now: datetime) -> Sequence[Session]:
        """The live sessions, oldest first."""

    async def end_session(self, token: str) -> None:
        """End the session; no error if there is none."""

    async def end_sessions(self, user_id: str, *, keeps_keys: bool) -> None:
        """End all of the user's sessions and impersonations, and API keys unless `keeps_keys`."""

    async def begin_impersonation(self, session: Session) -> None:
        """Write an impersonation session. Raises `NotFound` if one of the two users is gone."""

    async def remove_user(self, user_id: str, now: datetime) -> bool:
        """Delete the user, and mark their tenant to be deleted; False if there is no such user."""


IMPERSONATION = timedelta(hours=1)
_PAGE = 500


@dataclass(frozen=True, slots=True)
class UserAdmin:
    """Callers check permissions first, see `admin_types.may`. Changes take effect at once."""

    auth: Auth
    store: AdminStore
    notices: Notices

    async def list(self, query: UserQuery) -> UserPage:
        """A page of users. Raises `NoSuchField`."""
        return await self.store.list_users(query)

    async def get(self, user_id: str) -> User:
        """The user with this id. Raises `NoSuchUser`."""
        found = await self.store.find_user(user_id)
        if found is None:
            raise NoSuchUser
        return found

    async def find(self, reference: str) -> User:
        """The user with this e-mail address or id. Raises `NoSuchUser`."""
        by_email = UserFilter(values=[reference.lower()])
        for user in (await self.list(UserQuery(filter=by_email, limit=1))).users:
            return user
        return await self.get(reference)

    async def each(self, search: str = "") -> AsyncIterator[User]:
        """All users, or those with this text in their address, ordered by id; read page by page."""
        after = ""
        wanted = Search(value=search) if search else None
        while True:
            later = UserFilter(values=[after], field="id", operator="gt")
            query = UserQuery(search=wanted, filter=later, sort_by="id", limit=_PAGE)
            page = (await self.list(query)).users
            for user in page:
                yield user
            if len(page) < _PAGE:
                return
            after = page[-1].user_id

    async def create(self, new: CreatedUser) -> User:
        """Create a user, with a database as usual.

        Raises:
            InvalidEmail: bad input. For the password, see `PasswordRules.check`.
            EmailTaken: the address is in use.
        """
        checked_email(new.email)
        password_hash = None
        if new.password:
            await self.auth.rules.check(new.password, new.name, new.email)
            password_hash = await self.auth.hasher.hash(new.password)
        named = NewUser(name=new.name, email=new.email, password="")
        user = self.auth.new_user(named, USER_ROLE, self.auth.clock())
        more = {name: value for name in UserEdit.__struct_fields__
                if (value := getattr(new.more, name)) is not UNSET}  # fmt: skip
        user = replace(user, **more)
        await self.store.create_user(user, password_hash)
        self.auth.on_user_created()
        return user

    async def update(self, admin: User, user_id: str, edit: UserEdit) -> User:
        """Apply an edit to the user.

        Raises:
            CannotBanYourself: administrators cannot ban themselves.
            InvalidEmail: not an address.
            EmailTaken: someone else has it.
            NoSuchUser: there is none.
        """
        if edit.banned is True and user_id == admin.user_id:
            raise CannotBanYourself
        if isinstance(edit.email, str):
            edit = replace(edit, email=checked_email(edit.email))
        before = await self.get(user_id)
        changed = await self._edited(user_id, edit)
        if changed.email != before.email:
            await self.notices.send("address-changed", before)
        return changed

    async def set_role(self, user_id: str, role: str) -> User:
        """Replace the roles, joined by commas. Raises `NoSuchUser`."""
        return await self._edited(user_id, UserEdit(role=role))

    async def set_password(self, user_id: str, password: str) -> None:
        """Set the user's password, and end all their sessions and API keys, which may belong to an intruder.

        Raises:
            PasswordTooShort and its like: see `PasswordRules.check`.
            NoSuchUser: there is none.
        """
        check_new_password(password)
        user = await self.get(user_id)
        await self.auth.rules.check(password, user.name, user.email)
        password_hash = await self.auth.hasher.hash(password)
        if not await self.store.replace_password(user_id, password_hash, self.auth.clock()):
            raise NoSuchUser("the user no longer exists")
        await self.notices.send("password-changed", user)

    async def ban(
        self, admin: User, user_id: str, reason: str | None = None, expires_in_s: float | None = None
    ) -> User:
        """Ban the user, permanently or for `expires_in_s`, and end their sessions.

        Raises:
            NoSuchUser: there is none.
            CannotBanYourself: administrators cannot ban themselves.
        """
        await self.get(user_id)
        if user_id == admin.user_id:
            raise CannotBanYourself
        ends = to_iso(self.auth.clock() + timedelta(seconds=expires_in_s)) if expires_in_s else None
        edit = UserEdit(banned=True, ban_reason=reason or NO_REASON, ban_expires=ends)
        return await self._edited(user_id, edit)

    async def unban(self, user_id: str) -> User:
        """Lift the user's ban. Raises `NoSuchUser`."""
        return await self._edited(user_id, UserEdit(banned=False, ban_reason=None, ban_expires=None))

    async def sessions(self, user_id: str) -> Sequence[Session]:
        """The user's live sessions, including those of administrators who impersonate the user."""
        now = self.auth.clock()
        found = await self.store.list_sessions(user_id, now)
        return [session for session in found if not self.auth.sessions.is_over(session, now)]

    async def end_session(self, token: str) -> None:
        """End the session; no error if there is none."""
        await self.store.end_session(token)

    async def end_sessions(self, user_id: str, *, keeps_keys: bool = False) -> None:
        """End all sessions of the user, and their API keys unless `keeps_keys`."""
        await self.store.end_sessions(user_id, keeps_keys=keeps_keys)

    async def impersonate(self, admin: User, user_id: str, client: Client) -> SignedIn:
        """A session as this user, for an hour. The audit trail still names the administrator.

        Raises:
            NoSuchUser: there is none.
            AdminsActAsThemselves: the user is an administrator too.
            Banned: the user is banned.
        """
        user = await self.get(user_id)
        if user.is_admin:
            raise AdminsActAsThemselves
        now = self.auth.clock()
        if user.is_banned_at(now):
            raise Banned
        session = replace(
            self.auth.new_session(user.user_id, client, now, remember=False),
            expires_at=to_iso(now + IMPERSONATION),
            impersonated_by=admin.user_id,
        )
        try:
            await self.store.begin_impersonation(session)
        except NotFound as error:
            raise NoSuchUser("the user no longer exists") from error
        return signed_in_by(user, session)

    async def stop_impersonating(self, found: SignedIn, own_token: str | None) -> SignedIn:
        """End the impersonation and return to the session that started it.

        Raises:
            NotImpersonating: the session is not an impersonation.
            AdminSessionGone: the administrator's session has ended.
        """
        if found.session.impersonated_by is None:
            raise NotImpersonating
        own = await self.auth.sessions.current(own_token, extend=False) if own_token else None
        if own is None or own.user_id != found.session.impersonated_by:
            raise AdminSessionGone
        await self.store.end_session(found.session.token)
        return own

    async def remove(self, admin: User, user_id: str) -> None:
        """Delete the user with all their data; their database follows.

        Raises:
            CannotRemoveYourself: administrators cannot remove themselves.
            NoSuchUser: there is none.
        """
        if user_id == admin.user_id:
            raise CannotRemoveYourself
        if not await self.store.remove_user(user_id, self.auth.clock()):
            raise NoSuchUser

    async def _edited(self, user_id: str, edit: UserEdit) -> User:
        changed = await self.store.edit_user(user_id, edit, self.auth.clock())
        if changed is None:
            raise NoSuchUser
        return changed
