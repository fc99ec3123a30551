"""Sign-up, sign-in, sign-out, and the first administrator."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from freehold.audit.service import Recorder
from freehold.audit.types import ANONYMOUS, Event
from freehold.auth.email.addresses import EmailAddresses
from freehold.auth.emails import checked_email, is_email
from freehold.auth.errors import (
    Banned,
    EmailNotVerified,
    EmailTaken,
    InvalidEmail,
    NotAnAdmin,
    SessionNotFresh,
    WrongCredentials,
)
from freehold.auth.lockout import Attempt, Lockout
from freehold.auth.origins import TrustedOrigins
from freehold.auth.passwords.passwords import check_length
from freehold.auth.passwords.rules import PasswordRules
from freehold.auth.places import Places
from freehold.auth.ports import PasswordHasher, UserStore
from freehold.auth.proofs import Chosen
from freehold.auth.random_ids import random_id
from freehold.auth.sessions.cookies import SessionCookies
from freehold.auth.sessions.sessions import Sessions, signed_in_by
from freehold.auth.social.types import Identity
from freehold.auth.types import ADMIN_ROLE, USER_ROLE, AdminOutcome, Client, NewUser, Session, SignedIn, User
from freehold.dates import from_iso, to_iso, utc_now
from freehold.errors import CentralUnavailable, NotFound
from freehold.log import get_logger

FRESH_AGE = timedelta(days=1)

log = get_logger()


@dataclass(frozen=True, slots=True)
class Auth:
    """Signs people up, in and out. The edge recognises them by `cookies` and `origins`."""

    store: UserStore
    hasher: PasswordHasher
    sessions: Sessions
    cookies: SessionCookies
    origins: TrustedOrigins
    on_user_created: Callable[[], None]
    audit: Recorder
    lockout: Lockout | None = None
    places: Places | None = None
    rules: PasswordRules = field(default_factory=PasswordRules)
    # If set, nobody can sign in with a password until their address is verified.
    verification: EmailAddresses | None = None
    # Called before a user and their database are created for someone at this place; raises `RateLimited`.
    admit: Callable[[str], Awaitable[None]] | None = None
    # How long a sign-in counts as recent enough for sensitive actions; zero means no limit.
    fresh_age: timedelta = FRESH_AGE
    clock: Callable[[], datetime] = utc_now
    new_id: Callable[[], str] = random_id

    async def sign_up(self, new: NewUser, client: Client, *, remember: bool = True) -> SignedIn:
        """Create the user and sign them in. Their tenant is written with them; its database follows.

        Raises:
            InvalidEmail: bad input. For the password, see `PasswordRules.check`.
            EmailTaken: the address is in use.
            EmailNotVerified: the user was created or already exists; an e-mail to the address explains what to do.
            RateLimited, MailUnavailable, MailRefused: that e-mail was not sent.
            Unavailable: too many are signing in, or the central database does not answer.
        """
        if self.verification is not None:
            raise EmailNotVerified(await self._sign_up_unverified(new, client, self.verification))
        password_hash = await self._admit(new)
        user = self.new_user(new, USER_ROLE, self.clock())
        return await self.start_user(user, client, password_hash=password_hash, remember=remember)

    async def _sign_up_unverified(self, new: NewUser, client: Client, mail: EmailAddresses) -> User:
        """The user without a session; made up if the address is in use, so that the caller cannot tell.

        A guest stays a guest: their database is linked to the user at the first sign-in.
        """
        await self._check_new(new)
        password_hash = await self.hasher.hash(new.password)
        user = self.new_user(new, USER_ROLE, self.clock())
        await self._count(client)
        try:
            await self.store.add_user(user, password_hash, None)
        except EmailTaken:
            # Recorded like a sign-up, so that it takes the same time.
            found = await self.store.find_credential(user.email)
            target = f"user:{found.user.user_id}" if found else ""
            refused = Event("user.sign_up_failed", target, {"reason": "email_taken"}, actor=ANONYMOUS)
            await self.audit.record(refused)
        else:
            log.info("user.signed_up", user_id=user.user_id)
            self.on_user_created()
        chosen = Chosen(password_hash=password_hash, name=user.name, image=user.image)
        await mail.mail_sign_up_link(user.email, chosen, new.callback_url, client.language, client.source)
        return user

    async def start_user(
        self,
        user: User,
        client: Client,
        *,
        password_hash: str | None = None,
        identity: Identity | None = None,
        remember: bool = True,
    ) -> SignedIn:
        """Store a new user with a password, an identity at a provider, or neither; and sign them in.

        A guest becomes this user and keeps their id and database. Sessions that the client sent end.

        Raises:
            EmailTaken: the address is in use.
            IdentityTaken: another user has this identity.
            RateLimited: too many databases were made from this place.
        """
        now, seen = self.clock(), await self.sessions.seen()
        if client.guest_id:
            grown = replace(user, user_id=client.guest_id)
            session = self.new_session(grown.user_id, client, now, remember=remember)
            if await self.store.upgrade_guest(grown, password_hash, session, identity=identity):
                log.info("user.guest_signed_up", user_id=grown.user_id)
                return await self._started(grown, session, seen, client)
        await self._count(client)
        session = self.new_session(user.user_id, client, now, remember=remember)
        await self.store.add_user(user, password_hash, session, identity=identity, replaces=client.replaces)
        log.info("user.signed_up", user_id=user.user_id)
        self.on_user_created()
        return await self._started(user, session, seen, client)

    async def _count(self, client: Client) -> None:
        if self.admit is not None:
            await self.admit(client.source)

    async def sign_in(self, email: str, password: str, client: Client, *, remember: bool = True) -> SignedIn:
        """A new session for the user with this address and password.

        Raises:
            InvalidEmail: not an address.
            PasswordTooLong: longer than any password may be. One that is too short is just wrong.
            WrongCredentials: unknown address or wrong password; both take the same time.
            LockedOut: too many wrong passwords; see `freehold.auth.lockout`.
            EmailNotVerified: the password is right, but the address must be verified first.
            Banned: the user is banned. An expired ban is lifted.
            Unavailable: too many are signing in, or the central database does not answer.
        """
        email = checked_email(email)
        check_length(password)
        seen = await self.sessions.seen()
        found = await self.store.find_credential(email)
        password_hash = found.password_hash if found else None
        async with self.attempt(email, client.source) as attempt:
            attempt.is_right = await self.hasher.verify(password, password_hash) and found is not None
        if not attempt.is_right or found is None:
            await self.audit.record(_failed_sign_in(found.user if found else None, "wrong_password"))
            raise WrongCredentials
        if self.verification is not None and not found.user.email_verified:
            await self.audit.record(_failed_sign_in(found.user, "email_not_verified"))
            raise EmailNotVerified(found.user)
        try:
            return await self.start_session(
                found.user, client, remember=remember, seen=seen, password_hash=password_hash
            )
        except NotFound as error:  # deleted, or the password replaced, during the check
            raise WrongCredentials from error

    async def start_session(
        self,
        user: User,
        client: Client,
        *,
        remember: bool = True,
        method: str = "password",
        seen: int = -1,
        password_hash: str | None = None,
        identity: Identity | None = None,
    ) -> SignedIn:
        """A new session for someone who has proved, by this method, to be this user.

        Sessions that the client sent end. A guest's database is kept for the user, see `freehold.tenants.guests`.
        `seen` is what `sessions.seen` returned before the user was read, if known; `password_hash` or `identity` is
        what was proved.

        Raises:
            Banned: the user is banned. An expired ban is lifted.
            NotFound: the user is gone, or no longer has this address, password or identity.
        """
        now = self.clock()
        try:
            user = await self._not_banned(user, now)
        except Banned:
            await self.audit.record(_failed_sign_in(user, "banned"))
            raise
        session = self.new_session(user.user_id, client, now, remember=remember)
        shown: dict[str, Any] = {} if identity is None else {"identity": identity}
        await self.store.add_session(
            session,
            method=method,
            email=user.email,
            guest_id=client.guest_id,
            password_hash=password_hash,
            replaces=client.replaces,
            **shown,
        )
        return await self._started(user, session, seen, client)

    async def _started(self, user: User, session: Session, seen: int, client: Client) -> SignedIn:
        found = signed_in_by(user, session, seen)
        self.sessions.keep(found)
        for token in client.replaces:
            self.sessions.forget(token)
        if self.places is not None and user.email_verified:
            with suppress(CentralUnavailable):  # the sign-in has succeeded; a later one will be remembered
                await self.places.remember(user.email, client.source)
        return found

    def require_fresh(self, asking: SignedIn) -> None:
        """Raises `SessionNotFresh` unless this session's sign-in is recent."""
        age = self.clock() - from_iso(asking.session.created_at)
        if self.fresh_age and age >= self.fresh_age:
            raise SessionNotFresh

    @asynccontextmanager
    async def attempt(self, email: str, source: str) -> AsyncIterator[Attempt]:
        """Wrap the check of a password; without delays if there is no lockout."""
        if self.lockout is None:
            yield Attempt()
            return
        async with self.lockout.attempt(email, source) as attempt:
            yield attempt

    async def sign_out(self, token: str) -> None:
        """End the session; no error if there is none. Takes effect in every process at once."""
        await self.store.sign_out(token)
        self.sessions.forget(token)

    async def ensure_admin(
        self, email: str, name: str, ask_password: Callable[[], str], *, promote: bool = False
    ) -> AdminOutcome:
        """Make sure that there is an administrator with this address. Safe to repeat.

        The password is asked for only if the user is created; an existing user keeps theirs.

        Raises:
            NotAnAdmin: the user exists, is not an administrator, and `promote` is off.
            InvalidEmail: bad input. For the password, see `PasswordRules.check`.
        """
        if not is_email(email):
            raise InvalidEmail(f"`{email}` is not an e-mail address")
        found = await self.store.find_credential(email.lower())
        if found is not None:
            return await self._promoted(found.user, promote=promote)
        new = NewUser(name=name, email=email, password=ask_password())
        password_hash = await self._admit(new)
        user = self.new_user(new, ADMIN_ROLE, self.clock())
        # The operator vouches for the address.
        await self.store.add_user(replace(user, email_verified=True), password_hash, None)
        self.on_user_created()
        log.info("user.admin_created", user_id=user.user_id)
        return AdminOutcome.CREATED

    async def chosen(self, email: str, password: str) -> Chosen:
        """A password that is chosen together with a proof of the address. Raises as `sign_up` does."""
        await self.rules.check(password, email)
        return Chosen(password_hash=await self.hasher.hash(password))

    async def _admit(self, new: NewUser) -> str:
        """The hash of a new user's password, computed after the cheap checks."""
        await self._check_new(new)
        if await self.store.find_credential(new.email.lower()) is not None:
            raise EmailTaken
        return await self.hasher.hash(new.password)

    async def _check_new(self, new: NewUser) -> None:
        checked_email(new.email)
        await self.rules.check(new.password, new.name, new.email)

    async def _promoted(self, user: User, *, promote: bool) -> AdminOutcome:
        if user.is_admin:
            return AdminOutcome.UNCHANGED
        if not promote:
            raise NotAnAdmin(f"{user.email} is an ordinary user; use --promote to make them an administrator")
        role = ADMIN_ROLE if user.role in {"", USER_ROLE} else f"{user.role},{ADMIN_ROLE}"
        await self.store.set_role(user.user_id, role, to_iso(self.clock()))
        log.info("user.promoted", user_id=user.user_id)
        if not user.email_verified:
            log.warning("user.promoted_unverified", user_id=user.user_id, reason="anyone may have signed up")
        return AdminOutcome.PROMOTED

    async def _not_banned(self, user: User, now: datetime) -> User:
        if not user.banned:
            return user
        if user.is_banned_at(now):
            raise Banned
        await self.store.lift_ban(user.user_id, to_iso(now))
        found = await self.store.find_credential(user.email)
        return found.user if found else user

    def new_user(self, new: NewUser, role: str, now: datetime) -> User:
        """A user with a new id; not stored."""
        return User(
            user_id=self.new_id(),
            name=new.name,
            email=new.email.lower(),
            image=new.image,
            created_at=to_iso(now),
            updated_at=to_iso(now),
            role=role,
        )

    def new_session(self, user_id: str, client: Client, now: datetime, *, remember: bool) -> Session:
        """A session that starts now, with a new token; not stored."""
        return Session(
            session_id=self.new_id(),
            token=self.new_id(),
            user_id=user_id,
            expires_at=to_iso(self.sessions.first_end(now, remember=remember)),
            created_at=to_iso(now),
            updated_at=to_iso(now),
            ip_address=client.ip_address,
            user_agent=client.user_agent,
        )


def _failed_sign_in(user: User | None, reason: str) -> Event:
    """The audit event. An unknown address is not recorded: people mistype, and the audit trail is permanent."""
    target, reason = (f"user:{user.user_id}", reason) if user else ("", "unknown_address")
    return Event("user.sign_in_failed", target, {"reason": reason}, actor=ANONYMOUS)
