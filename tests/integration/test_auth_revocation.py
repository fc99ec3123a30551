"""A session ended anywhere is ended everywhere, for the very next request: two services on one database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from freehold.auth.service import Auth
from freehold.auth.types import Client, NewUser, SignedIn
from freehold.central.auth.users import CentralUsers
from freehold.dates import from_iso, to_iso
from tests.support.auth_app import QuickHasher, auth_parts
from tests.support.central_place import CentralPlace

TWICE = 20


@pytest.fixture
async def services(place: CentralPlace) -> AsyncIterator[tuple[Auth, Auth]]:
    """Two services that share nothing but the database."""
    async with contextlib.AsyncExitStack() as stack:
        one, *_ = await stack.enter_async_context(auth_parts(place, hasher=QuickHasher()))
        two, *_ = await stack.enter_async_context(auth_parts(place, hasher=QuickHasher()))
        yield one, two


async def sign_up(auth: Auth, email: str = "ada@example.com") -> SignedIn:
    return await auth.sign_up(NewUser(name="Ada", email=email, password="correct-horse-1"), Client())


async def test_a_sign_out_in_one_service_is_seen_by_the_other_at_once(services: tuple[Auth, Auth]) -> None:
    one, two = services
    await sign_up(one)
    for _ in range(TWICE):
        signed_in = await two.sign_in("ada@example.com", "correct-horse-1", Client())
        token = signed_in.session.token
        assert await one.sessions.current(token) is not None
        assert await two.sessions.current(token) is not None
        await one.sign_out(token)
        assert await two.sessions.current(token) is None
        assert await one.sessions.current(token) is None


@pytest.mark.parametrize(
    "sql",
    [
        'DELETE FROM "session"',
        'DELETE FROM "user"',
        "PRAGMA foreign_keys = ON; DELETE FROM user",
        """UPDATE "session" SET "expiresAt" = '2020-01-01T00:00:00.000Z'""",
        """UPDATE "session" SET token = 'another'""",
    ],
)
async def test_a_change_by_another_program_is_seen_at_once(
    services: tuple[Auth, Auth], place: CentralPlace, sql: str
) -> None:
    token = (await sign_up(services[0])).session.token
    for auth in services:
        assert await auth.sessions.current(token) is not None
    await asyncio.to_thread(place.by_hand, sql)
    for auth in services:
        assert await auth.sessions.current(token) is None


async def test_a_new_name_is_seen_at_once(services: tuple[Auth, Auth]) -> None:
    one, two = services
    signed_in = await sign_up(one)
    await two.sessions.current(signed_in.session.token)
    await one.store.set_role(signed_in.user_id, "editor", signed_in.user.updated_at)
    found = await two.sessions.current(signed_in.session.token)
    assert found is not None
    assert found.user.role == "editor"


async def test_an_extension_by_one_service_is_known_to_the_other(services: tuple[Auth, Auth]) -> None:
    one, two = services
    session = (await sign_up(one)).session
    token = session.token
    await two.sessions.current(token)
    later = to_iso(from_iso(session.expires_at) + timedelta(days=30))
    assert await one.store.extend_session(token, later, "2026-01-01T00:00:00.000Z")
    found = await two.sessions.current(token, extend=False)
    assert found is not None
    assert found.session.expires_at == later


async def test_no_read_after_a_sign_out_finds_the_session_however_busy_it_is(services: tuple[Auth, Auth]) -> None:
    """Readers hammer both services while sessions end; who starts to read after the end must not find it."""
    one, two = services
    await sign_up(one)
    ended: set[str] = set()
    found_after_its_end: list[str] = []
    tokens: list[str] = []
    is_over = False

    async def read(auth: Auth) -> None:
        while not is_over:
            for token in tokens[-3:]:
                was_ended = token in ended
                if await auth.sessions.current(token) is not None and was_ended:
                    found_after_its_end.append(token)
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read(auth)) for auth in (one, two) for _ in range(3)]
    for _ in range(50):
        tokens.append((await two.sign_in("ada@example.com", "correct-horse-1", Client())).session.token)
        await asyncio.sleep(0.002)
        await one.sign_out(tokens[-1])
        ended.add(tokens[-1])
    is_over = True
    await asyncio.gather(*readers)
    assert found_after_its_end == []


async def test_a_deleted_user_is_signed_out_everywhere_and_leaves_a_database_to_delete(
    services: tuple[Auth, Auth],
) -> None:
    one, two = services
    store = one.store
    assert isinstance(store, CentralUsers)
    signed_in = await sign_up(one)
    other = await sign_up(one, "other@example.com")
    await two.sessions.current(signed_in.session.token)
    assert await store.delete_user(signed_in.user_id, one.clock())
    assert not await store.delete_user(signed_in.user_id, one.clock())
    assert await two.sessions.current(signed_in.session.token) is None
    assert await two.sessions.current(other.session.token) is not None
    async with store.central.read() as db:
        found = await db.exec_driver_sql("SELECT user_id, state, due_at_ms FROM tenant WHERE state = 'deleting'")
        (row,) = found.all()
        left = await db.exec_driver_sql("SELECT count(*) FROM account")
        assert left.scalar() == 1
    assert (row.user_id, row.state) == (signed_in.user_id, "deleting")
    assert row.due_at_ms <= one.clock().timestamp() * 1000
