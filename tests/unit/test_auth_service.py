"""Sign-up and sign-in on in-memory stores: the rules that no wire shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from freehold.audit.types import ANONYMOUS, Event
from freehold.auth.errors import (
    Banned,
    EmailTaken,
    InvalidEmail,
    NotAnAdmin,
    PasswordTooLong,
    PasswordTooShort,
    WrongCredentials,
)
from freehold.auth.origins import TrustedOrigins
from freehold.auth.service import Auth
from freehold.auth.sessions.cookies import SessionCookies
from freehold.auth.sessions.sessions import Sessions
from freehold.auth.social.types import Identity
from freehold.auth.types import AdminOutcome, Client, Credential, NewUser, Session, SignedIn, User
from freehold.dates import to_iso
from freehold.errors import NotFound

NOW = datetime(2026, 1, 31, 10, 20, 30, 123456, tzinfo=UTC)
ADA = NewUser(name="Ada", email="Ada@Example.com", password="correct-horse-1")
NOWHERE = Client()


@dataclass
class Users:
    """A user store in memory."""

    credentials: dict[str, Credential] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    is_gone: bool = False

    async def delete_user(self, user_id: str, now: datetime, *, guest_in: str = "") -> bool:
        raise NotImplementedError

    async def add_user(
        self,
        user: User,
        password_hash: str | None,
        session: Session | None,
        *,
        identity: Identity | None = None,
        replaces: Sequence[str] = (),
    ) -> None:
        if user.email in self.credentials:
            raise EmailTaken("taken")
        self.credentials[user.email] = Credential(user=user, password_hash=password_hash)
        if session is not None:
            self.sessions.append(session)

    async def upgrade_guest(
        self, user: User, password_hash: str | None, session: Session, *, identity: Identity | None = None
    ) -> bool:
        return False

    async def add_session(
        self,
        session: Session,
        *,
        method: str = "password",
        email: str = "",
        guest_id: str = "",
        password_hash: str | None = None,
        identity: Identity | None = None,
        replaces: Sequence[str] = (),
    ) -> None:
        if self.is_gone:
            raise NotFound("gone")
        self.sessions.append(session)

    async def find_credential(self, email: str) -> Credential | None:
        return self.credentials.get(email)

    async def lift_ban(self, user_id: str, updated_at: str) -> None:
        self.change(banned=False, ban_reason=None, ban_expires=None, updated_at=updated_at)

    async def set_role(self, user_id: str, role: str, updated_at: str) -> None:
        self.change(role=role, updated_at=updated_at)

    def change(self, **changes: Any) -> None:
        for email, found in self.credentials.items():
            self.credentials[email] = replace(found, user=replace(found.user, **changes))

    async def find_session(self, token: str) -> tuple[SignedIn | None, int]:
        return None, 0

    async def extend_session(self, token: str, expires_at: str, updated_at: str) -> bool:
        return False

    async def sign_out(self, token: str) -> None:
        await self.delete_session(token)

    async def delete_session(self, token: str) -> None:
        self.sessions = [session for session in self.sessions if session.token != token]


@dataclass
class Hasher:
    """Hashes nothing, and notes what it was asked."""

    verified: list[str | None] = field(default_factory=list)

    async def hash(self, password: str) -> str:
        return f"hash of {password}"

    async def verify(self, password: str, password_hash: str | None) -> bool:
        self.verified.append(password_hash)
        return password_hash == f"hash of {password}"


class NoChanges:
    position = 0

    def is_current(self) -> bool:
        return True

    async def catch_up(self) -> None: ...

    def subscribe(self, topic: str, listener: Any) -> None: ...


@dataclass
class Recorded:
    """An audit trail in memory."""

    events: list[Event] = field(default_factory=list)

    async def record(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class AuthInMemory:
    users: Users = field(default_factory=Users)
    hasher: Hasher = field(default_factory=Hasher)
    created: list[None] = field(default_factory=list)
    audit: Recorded = field(default_factory=Recorded)

    @property
    def auth(self) -> Auth:
        return Auth(
            store=self.users,
            hasher=self.hasher,
            sessions=Sessions(self.users, NoChanges()),
            cookies=SessionCookies("secret", "http://x"),
            origins=TrustedOrigins("http://x"),
            on_user_created=lambda: self.created.append(None),
            audit=self.audit,
            clock=lambda: NOW,
        )


@pytest.fixture
def scene() -> AuthInMemory:
    return AuthInMemory()


async def test_sign_up_makes_a_user_with_a_session_and_says_so(scene: AuthInMemory) -> None:
    signed_in = await scene.auth.sign_up(ADA, Client(ip_address="198.51.100.7", user_agent="test"))
    assert signed_in.user.email == "ada@example.com"
    assert signed_in.user.created_at == "2026-01-31T10:20:30.123Z"
    assert signed_in.session.expires_at == "2026-02-07T10:20:30.123Z"
    assert (signed_in.session.ip_address, signed_in.session.user_agent) == ("198.51.100.7", "test")
    assert len({signed_in.user_id, signed_in.session_id, signed_in.session.token}) == 3
    assert len(scene.created) == 1


async def test_a_refused_sign_up_hashes_and_makes_nothing(scene: AuthInMemory) -> None:
    for new, error in ((replace(ADA, email="nope"), InvalidEmail), (replace(ADA, password="short"), PasswordTooShort)):
        with pytest.raises(error):
            await scene.auth.sign_up(new, NOWHERE)
    await scene.auth.sign_up(ADA, NOWHERE)
    with pytest.raises(EmailTaken):
        await scene.auth.sign_up(replace(ADA, email="ADA@example.com"), NOWHERE)
    assert len(scene.users.credentials) == len(scene.created) == 1


async def test_a_refused_sign_in_is_recorded_without_the_address(scene: AuthInMemory) -> None:
    signed_up = await scene.auth.sign_up(ADA, NOWHERE)
    name = f"user:{signed_up.user_id}"
    with pytest.raises(WrongCredentials):
        await scene.auth.sign_in("ada@example.com", "wrong-horse-1", NOWHERE)
    with pytest.raises(WrongCredentials):
        await scene.auth.sign_in("eve@example.com", "wrong-horse-1", NOWHERE)
    scene.users.change(banned=True)
    with pytest.raises(Banned):
        await scene.auth.sign_in("ada@example.com", ADA.password, NOWHERE)
    assert [(event.target, event.details["reason"]) for event in scene.audit.events] == [
        (name, "wrong_password"),
        ("", "unknown_address"),
        (name, "banned"),
    ]
    assert {event.actor for event in scene.audit.events} == {ANONYMOUS}
    assert "example.com" not in repr(scene.audit.events)


async def test_a_hash_is_computed_for_unknown_users_too(scene: AuthInMemory) -> None:
    await scene.auth.sign_up(ADA, NOWHERE)
    for email in ("nobody@example.com", "ada@example.com"):
        with pytest.raises(WrongCredentials):
            await scene.auth.sign_in(email, "wrong-horse-1", NOWHERE)
    assert scene.hasher.verified == [None, "hash of correct-horse-1"]


async def test_what_is_too_long_for_a_password_is_not_hashed_at_all(scene: AuthInMemory) -> None:
    await scene.auth.sign_up(ADA, NOWHERE)
    with pytest.raises(PasswordTooLong):
        await scene.auth.sign_in("ada@example.com", "x" * 129, NOWHERE)
    assert scene.hasher.verified == []


async def test_a_user_without_a_password_cannot_sign_in_by_one(scene: AuthInMemory) -> None:
    await scene.auth.sign_up(ADA, NOWHERE)
    found = scene.users.credentials["ada@example.com"]
    scene.users.credentials["ada@example.com"] = replace(found, password_hash=None)
    with pytest.raises(WrongCredentials):
        await scene.auth.sign_in("ada@example.com", "correct-horse-1", NOWHERE)


async def test_a_user_deleted_while_the_password_is_checked_is_not_signed_in(scene: AuthInMemory) -> None:
    await scene.auth.sign_up(ADA, NOWHERE)
    scene.users.is_gone = True
    with pytest.raises(WrongCredentials):
        await scene.auth.sign_in("ada@example.com", "correct-horse-1", NOWHERE)


async def test_a_banned_user_is_told_only_after_the_right_password(scene: AuthInMemory) -> None:
    await scene.auth.sign_up(ADA, NOWHERE)
    scene.users.change(banned=True, ban_expires=to_iso(NOW + timedelta(seconds=1)))
    with pytest.raises(WrongCredentials):
        await scene.auth.sign_in("ada@example.com", "wrong-horse-1", NOWHERE)
    with pytest.raises(Banned):
        await scene.auth.sign_in("ada@example.com", "correct-horse-1", NOWHERE)


async def test_a_ban_that_has_run_out_is_lifted_by_the_next_sign_in(scene: AuthInMemory) -> None:
    await scene.auth.sign_up(ADA, NOWHERE)
    scene.users.change(banned=True, ban_reason="spam", ban_expires=to_iso(NOW))
    signed_in = await scene.auth.sign_in("ada@example.com", "correct-horse-1", NOWHERE)
    assert not signed_in.user.banned
    assert signed_in.user.ban_reason is None
    assert not scene.users.credentials["ada@example.com"].user.banned


async def test_the_first_admin_is_made_once_and_asked_for_a_password_once(scene: AuthInMemory) -> None:
    asked: list[None] = []

    def ask() -> str:
        asked.append(None)
        return "correct-horse-1"

    assert await scene.auth.ensure_admin("Ada@example.com", "Ada", ask) is AdminOutcome.CREATED
    assert await scene.auth.ensure_admin("ada@example.com", "Ada", ask) is AdminOutcome.UNCHANGED
    assert len(asked) == len(scene.created) == 1
    assert scene.users.sessions == []
    assert (await scene.auth.sign_in("ada@example.com", "correct-horse-1", NOWHERE)).user.is_admin


@pytest.mark.parametrize(("role", "promoted"), [("user", "admin"), ("", "admin"), ("editor,user", "editor,user,admin")])
async def test_an_ordinary_user_becomes_admin_only_when_that_is_asked(
    scene: AuthInMemory, role: str, promoted: str
) -> None:
    await scene.auth.sign_up(ADA, NOWHERE)
    scene.users.change(role=role)
    with pytest.raises(NotAnAdmin, match="--promote"):
        await scene.auth.ensure_admin("ada@example.com", "Ada", str)
    assert await scene.auth.ensure_admin("ada@example.com", "Ada", str, promote=True) is AdminOutcome.PROMOTED
    found = scene.users.credentials["ada@example.com"]
    assert found.user.role == promoted
    assert found.password_hash == "hash of correct-horse-1"


@pytest.mark.parametrize(
    ("role", "is_admin"), [("admin", True), ("user,admin", True), ("user, admin", True), ("administrator", False)]
)
async def test_admin_is_one_of_the_roles(scene: AuthInMemory, role: str, is_admin: bool) -> None:
    assert replace((await scene.auth.sign_up(ADA, NOWHERE)).user, role=role).is_admin is is_admin
