"""Guests who do two things at once: what they were told is done stays so."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.auth.errors import NotAGuest
from freehold.auth.users.guests import Guests
from tests.support.auth_app import AuthApp, QuickHasher, running_auth
from tests.support.central_place import CentralPlace

PASSWORD = "correct-horse-1"


@pytest.fixture
async def app(tmp_path: Path, place: CentralPlace) -> AsyncIterator[AuthApp]:
    async with running_auth(tmp_path, hasher=QuickHasher(), place=place) as running:
        yield running


async def guest(app: AuthApp) -> dict[str, str]:
    token = (await app.post("/api/auth/sign-in/anonymous")).json()["token"]
    return {"authorization": f"Bearer {token}"}


async def test_a_guest_who_signs_up_while_leaving_is_a_user_with_a_database_or_was_none(app: AuthApp) -> None:
    for n in range(25):
        headers = await guest(app)
        person = {"name": "A", "email": f"a{n}@example.com", "password": PASSWORD}
        signed_up, _left = await asyncio.gather(
            app.post("/api/auth/sign-up/email", person, **headers),
            app.post("/api/auth/delete-anonymous-user", **headers),
        )
        if signed_up.status_code == 200:
            user_id = (await app.get_session(signed_up.json()["token"]))["user"]["id"]
            tenants = await app.rows("SELECT state FROM tenant WHERE user_id = ?", user_id)
            assert tenants == [("provisioning",)]
        else:
            assert signed_up.status_code == 401, signed_up.text


async def test_leaving_deletes_nobody_who_is_no_guest_by_now(app: AuthApp) -> None:
    headers = await guest(app)
    found = await app.auth.sessions.current(headers["authorization"].removeprefix("Bearer "))
    assert found is not None
    person = {"name": "A", "email": "a@example.com", "password": PASSWORD}
    signed_up = await app.post("/api/auth/sign-up/email", person, **headers)
    with pytest.raises(NotAGuest):
        await Guests(app.auth).delete(found)
    assert (await app.get_session(signed_up.json()["token"]))["user"]["id"] == found.user_id


async def test_a_guest_who_signs_in_while_leaving_is_linked_or_gone(app: AuthApp) -> None:
    await app.sign_up("a@example.com")
    for _ in range(10):
        headers = await guest(app)
        signed_in, left = await asyncio.gather(
            app.post("/api/auth/sign-in/email", {"email": "a@example.com", "password": PASSWORD}, **headers),
            app.post("/api/auth/delete-anonymous-user", **headers),
        )
        assert signed_in.status_code == 200, signed_in.text
        linked = await app.rows("SELECT count(*) FROM guest_link")
        guests = await app.rows('SELECT count(*) FROM "user" WHERE "isAnonymous" = 1')
        assert linked == guests == [(0 if left.status_code == 200 else 1,)]
        await app.write("DELETE FROM guest_link")
        await app.write('DELETE FROM "user" WHERE "isAnonymous" = 1')


async def test_of_sign_ups_with_one_address_at_once_one_is_done(app: AuthApp) -> None:
    replies = await asyncio.gather(*(app.sign_up("a@example.com") for _ in range(8)))
    assert sorted(reply.status_code for reply in replies) == [200, *[422] * 7]
    assert await app.rows("SELECT count(*) FROM tenant") == [(1,)]
    assert await app.rows("SELECT count(*) FROM session") == [(1,)]
