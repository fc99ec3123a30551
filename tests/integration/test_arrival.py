"""The owner arrives: whoever was in an account before its address was proved is out, by every way of proving it."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import httpx
import pytest
from testbed.mailed import OutboxReader
from testbed.servers import ROOT

from freehold.auth.proofs import RESETS, Way
from freehold.auth.social.types import Identity
from freehold.auth.types import Client, User
from freehold.central.auth.social import CentralSocial
from freehold.errors import NotFound
from tests.support.auth_app import AuthApp, QuickHasher, running_auth
from tests.support.central_place import CentralPlace

OWNER, MOVED = "owner@example.com", "moved@example.com"
PASSWORD, OWN_PASSWORD = "correct-horse-1", "the-owners-pass-2"
SIGN_UP, SIGN_IN = "/api/auth/sign-up/email", "/api/auth/sign-in/email"
VERIFY = "/api/auth/verify-email"
SEND_CODE = "/api/auth/email-otp/send-verification-otp"
UNVOUCHED = Identity(provider_id="careless", subject="stranger", email=OWNER, email_verified=False, name="Stranger")


@pytest.fixture
async def app(tmp_path: Path, place: CentralPlace) -> AsyncIterator[AuthApp]:
    """With the central database in a file, and on a server: all of it is about its transactions."""
    async with running_auth(tmp_path, hasher=QuickHasher(), place=place) as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path) -> OutboxReader:
    return OutboxReader(tmp_path / "outbox.jsonl")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@dataclass
class Stranger:
    """Somebody who signed up with an address that is not theirs, and prepared every way back in there is."""

    app: AuthApp
    user_id: str
    sessions: list[str]
    api_key: str

    async def ways_left(self) -> list[str]:
        """What still opens the account."""
        left = [f"session {n}" for n, token in enumerate(self.sessions) if await self.app.get_session(token)]
        reply = await self.app.post(SIGN_IN, {"email": OWNER, "password": PASSWORD})
        left += ["password"] if reply.status_code == 200 else []
        keys = await self.app.rows('SELECT count(*) FROM apikey WHERE "referenceId" = ?', self.user_id)
        left += ["api key"] if keys != [(0,)] else []
        theirs = 'SELECT "providerId" FROM account WHERE "userId" = ? AND "providerId" <> \'credential\''
        left += [provider for (provider,) in await self.app.rows(theirs, self.user_id)]
        pairs = await self.app.rows("SELECT count(*) FROM refresh_token")
        return left + (["refresh token"] if pairs != [(0,)] else [])


async def stranger_at(app: AuthApp) -> Stranger:
    made = (await app.sign_up(OWNER, name="Stranger")).json()
    pair = (await app.post("/api/auth/login", {"email": OWNER, "password": PASSWORD})).json()
    assert pair["refresh_token"]
    second = (await app.post(SIGN_IN, {"email": OWNER, "password": PASSWORD})).json()["token"]
    key = (await app.post("/api/auth/api-key/create", {}, **bearer(made["token"]))).json()["key"]
    # Of an issuer that does not vouch for addresses. Nobody can link such a one over HTTP.
    row = (made["user"]["id"], UNVOUCHED.provider_id, UNVOUCHED.subject)
    await app.write(
        'INSERT INTO account (id, "userId", "providerId", "accountId", "createdAt", "updatedAt", "vouchedFor")'
        " VALUES ('careless', ?, ?, ?, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', '')",
        *row,
    )
    found = Stranger(app, made["user"]["id"], [made["token"], second], key)
    left = ["session 0", "session 1", "password", "api key", "careless", "refresh token"]
    assert await found.ways_left() == left
    return found


# Every way to prove an address. Each gives what the owner did; none of them has any of the stranger's sessions.

Prove = Callable[[AuthApp, OutboxReader, Stranger], Awaitable[None]]


async def by_verify_link(app: AuthApp, outbox: OutboxReader, _stranger: Stranger) -> None:
    await app.post("/api/auth/send-verification-email", {"email": OWNER})
    assert (await app.http.get(outbox.link(OWNER))).status_code == 302


async def by_verify_code(app: AuthApp, outbox: OutboxReader, _stranger: Stranger) -> None:
    await app.post(SEND_CODE, {"email": OWNER, "type": "email-verification"})
    body = {"email": OWNER, "otp": outbox.code(OWNER)}
    assert (await app.post("/api/auth/email-otp/verify-email", body)).status_code == 200


async def by_sign_in_code(app: AuthApp, outbox: OutboxReader, _stranger: Stranger) -> None:
    await app.post(SEND_CODE, {"email": OWNER, "type": "sign-in"})
    reply = await app.post("/api/auth/sign-in/email-otp", {"email": OWNER, "otp": outbox.code(OWNER)})
    assert (await app.get_session(reply.json()["token"]))["user"]["email"] == OWNER


async def by_reset_link(app: AuthApp, outbox: OutboxReader, _stranger: Stranger) -> None:
    await app.post("/api/auth/request-password-reset", {"email": OWNER})
    body = {"token": outbox.token(OWNER), "newPassword": OWN_PASSWORD}
    assert (await app.post("/api/auth/reset-password", body)).status_code == 200


async def by_reset_code(app: AuthApp, outbox: OutboxReader, _stranger: Stranger) -> None:
    await app.post("/api/auth/email-otp/request-password-reset", {"email": OWNER})
    body = {"email": OWNER, "otp": outbox.code(OWNER), "password": OWN_PASSWORD}
    assert (await app.post("/api/auth/email-otp/reset-password", body)).status_code == 200


async def by_change_link(app: AuthApp, outbox: OutboxReader, stranger: Stranger) -> None:
    """The stranger has the account moved to somebody's address, who follows the link in a browser of their own."""
    await app.post("/api/auth/change-email", {"newEmail": MOVED}, **bearer(stranger.sessions[0]))
    assert (await app.http.get(outbox.link(MOVED))).status_code == 302


async def by_change_code(app: AuthApp, outbox: OutboxReader, stranger: Stranger) -> None:
    """Only in a session: that one stays, and with it the password that it began with."""
    asking = bearer(stranger.sessions.pop(0))
    await app.post("/api/auth/email-otp/request-email-change", {"newEmail": MOVED}, **asking)
    body = {"newEmail": MOVED, "otp": outbox.code(MOVED)}
    assert (await app.post("/api/auth/email-otp/change-email", body, **asking)).status_code == 200
    assert (await app.http.get("/api/auth/get-session", headers=asking)).json()["user"]["email"] == MOVED


async def by_issuer(app: AuthApp, _outbox: OutboxReader, stranger: Stranger) -> None:
    """The user's own identity, whose issuer has come to vouch for the address."""
    await app.write(
        'INSERT INTO account (id, "userId", "providerId", "accountId", "createdAt", "updatedAt")'
        " VALUES ('own', ?, 'oidc', 'owner', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z')",
        stranger.user_id,
    )
    identity = Identity(provider_id="oidc", subject="owner", email=OWNER, email_verified=True, name="Owner")
    accounts = CentralSocial(app.central)
    user = await accounts.find_user("oidc", "owner")
    assert isinstance(user, User)
    assert await accounts.prove(identity, user, datetime.now(UTC))
    await app.write("DELETE FROM account WHERE id = 'own'")


WAYS: dict[Way, Prove] = {
    "verify-link": by_verify_link,
    "verify-code": by_verify_code,
    "sign-in-code": by_sign_in_code,
    "reset-link": by_reset_link,
    "reset-code": by_reset_code,
    "change-link": by_change_link,
    "change-code": by_change_code,
    "issuer": by_issuer,
}


def test_every_way_to_prove_an_address_is_walked_here() -> None:
    assert set(WAYS) == set(get_args(Way))


def test_an_address_becomes_verified_in_one_place() -> None:
    """Whoever adds a way to prove an address has to come through it, and end what was there before."""
    writes = re.compile(r"""["']?emailVerified["']?\s*(?:=(?!=)|:)""")
    source = ROOT / "src/freehold"
    places = [path for path in source.rglob("*.py") if writes.search(path.read_text())]
    found = {path.relative_to(source).as_posix() for path in places}
    # The other is an administrator's word: it changes what is said of an account, and proves nothing.
    assert found == {"central/auth/arrival.py", "http/auth/admin_bodies.py"}


@pytest.mark.parametrize("way", WAYS)
async def test_the_first_proof_ends_every_way_in_that_was_there(app: AuthApp, outbox: OutboxReader, way: Way) -> None:
    stranger = await stranger_at(app)
    (tenant,) = await app.rows("SELECT id, state, database_name FROM tenant")
    await WAYS[way](app, outbox, stranger)
    assert await stranger.ways_left() == []
    assert await app.rows("SELECT id, state, database_name FROM tenant") == [tenant], "the database stays"
    email = MOVED if way.startswith("change") else OWNER
    assert await app.rows('SELECT id, email, "emailVerified" FROM "user"') == [(stranger.user_id, email, 1)]
    ((details,),) = await app.rows("SELECT details FROM audit_entry WHERE action = 'user.access_ended'")
    assert f'"{way}"' in details
    ended = await app.rows("SELECT target FROM audit_entry WHERE action = 'api_key.deleted'")
    assert len(ended) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_what_waits_when_the_owner_arrives_is_void(app: AuthApp, outbox: OutboxReader, way: Way) -> None:
    """Above all a change to the stranger's own address, whose link they have."""
    stranger = await stranger_at(app)
    first = bearer(stranger.sessions[0])
    away = "stranger@example.com"
    second = bearer(stranger.sessions[1])
    await app.post("/api/auth/change-email", {"newEmail": away}, **second)
    change = outbox.token(away)
    await app.post("/api/auth/email-otp/request-email-change", {"newEmail": away}, **first)
    for kind in ("sign-in", "email-verification"):
        await app.post(SEND_CODE, {"email": OWNER, "type": kind})
    await app.write("DELETE FROM verification WHERE identifier LIKE 'code-mails-%'")
    await WAYS[way](app, outbox, stranger)
    reply = await app.http.get(VERIFY, params={"token": change})
    assert (reply.status_code, reply.json()["code"]) == (401, "INVALID_TOKEN")
    assert await app.rows("SELECT identifier FROM verification WHERE identifier LIKE '%-otp-%'") == []


# Addresses that somebody else gave ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [way for way in WAYS if not way.startswith("change")])
async def test_an_address_that_an_administrator_gave_is_its_owners_from_their_arrival_on(
    app: AuthApp, outbox: OutboxReader, way: Way
) -> None:
    """Whoever had the account with another address that was proved keeps nothing of it."""
    stranger = await stranger_at(app)
    await app.write('UPDATE "user" SET email = \'former@example.com\', "emailVerified" = 1')
    changed = await as_administrator(app, stranger.user_id, {"email": OWNER.upper()})
    assert (changed["email"], changed["emailVerified"]) == (OWNER, False)
    await WAYS[way](app, outbox, stranger)
    assert await stranger.ways_left() == []
    assert await app.rows('SELECT "emailVerified" FROM "user" WHERE id = ?', stranger.user_id) == [(1,)]


async def test_an_administrator_may_say_that_a_new_address_is_verified_or_leave_the_address(app: AuthApp) -> None:
    user_id = (await app.sign_up(OWNER)).json()["user"]["id"]
    told: dict[str, object] = {"email": MOVED, "emailVerified": True}
    assert (await as_administrator(app, user_id, told))["emailVerified"] is True
    unchanged: list[dict[str, object]] = [{"email": MOVED.upper()}, {"name": "Ada L."}]
    for same in unchanged:
        assert (await as_administrator(app, user_id, same))["emailVerified"] is True, same


async def test_what_was_mailed_to_the_address_before_is_void_after_an_administrators_change(
    app: AuthApp, outbox: OutboxReader
) -> None:
    user_id = (await app.sign_up(MOVED)).json()["user"]["id"]
    await app.post("/api/auth/send-verification-email", {"email": MOVED})
    verify = outbox.token(MOVED)
    await app.post("/api/auth/request-password-reset", {"email": MOVED})
    reset = {"token": outbox.token(MOVED), "newPassword": OWN_PASSWORD}
    await as_administrator(app, user_id, {"email": OWNER})
    assert (await app.http.get(VERIFY, params={"token": verify})).status_code == 401
    assert (await app.post("/api/auth/reset-password", reset)).status_code == 400
    assert await app.rows('SELECT "emailVerified" FROM "user" WHERE id = ?', user_id) == [(0,)]


async def as_administrator(app: AuthApp, user_id: str, data: dict[str, object]) -> dict[str, object]:
    admin = await app.post(SIGN_IN, {"email": "admin@example.com", "password": PASSWORD})
    if admin.status_code != 200:
        admin = await app.sign_up("admin@example.com")
        await app.write("UPDATE \"user\" SET role = 'admin' WHERE email = 'admin@example.com'")
    body = {"userId": user_id, "data": data}
    reply = await app.post("/api/auth/admin/update-user", body, **bearer(admin.json()["token"]))
    assert reply.status_code == 200, reply.text
    changed: dict[str, object] = reply.json()
    return changed


# Who proves the address in a session of the account -----------------------------------------------------------------


async def test_who_asks_for_the_link_in_their_session_stays_signed_in_with_their_password(
    app: AuthApp, outbox: OutboxReader
) -> None:
    owner = (await app.sign_up(OWNER)).json()["token"]
    other = (await app.post(SIGN_IN, {"email": OWNER, "password": PASSWORD})).json()["token"]
    await app.post("/api/auth/send-verification-email", {"email": OWNER}, **bearer(owner))
    assert (await app.http.get(outbox.link(OWNER))).status_code == 302
    assert (await app.get_session(owner))["user"]["emailVerified"] is True
    assert await app.get_session(other) is None, "anybody who knew the password may have begun it"
    assert (await app.post(SIGN_IN, {"email": OWNER, "password": PASSWORD})).status_code == 200


async def test_a_link_keeps_no_password_that_is_not_the_one_it_was_asked_for_with(
    app: AuthApp, outbox: OutboxReader
) -> None:
    owner = (await app.sign_up(OWNER)).json()["token"]
    await app.post("/api/auth/send-verification-email", {"email": OWNER}, **bearer(owner))
    body = {"currentPassword": PASSWORD, "newPassword": "another-pass-33"}
    other = (await app.post(SIGN_IN, {"email": OWNER, "password": PASSWORD})).json()["token"]
    assert (await app.post("/api/auth/change-password", body, **bearer(other))).status_code == 200
    await app.http.get(outbox.link(OWNER))
    for password in (PASSWORD, "another-pass-33"):
        assert (await app.post(SIGN_IN, {"email": OWNER, "password": password})).status_code == 401


async def test_who_enters_the_code_in_their_session_stays_signed_in_with_their_password(
    app: AuthApp, outbox: OutboxReader
) -> None:
    owner = (await app.sign_up(OWNER)).json()["token"]
    other = (await app.post(SIGN_IN, {"email": OWNER, "password": PASSWORD})).json()["token"]
    await app.post(SEND_CODE, {"email": OWNER, "type": "email-verification"})
    body = {"email": OWNER, "otp": outbox.code(OWNER)}
    assert (await app.post("/api/auth/email-otp/verify-email", body, **bearer(owner))).status_code == 200
    assert [await app.get_session(token) is not None for token in (owner, other)] == [True, False]
    assert (await app.post(SIGN_IN, {"email": OWNER, "password": PASSWORD})).status_code == 200


async def test_somebody_elses_session_keeps_nothing(app: AuthApp, outbox: OutboxReader) -> None:
    stranger = await stranger_at(app)
    eve = (await app.sign_up("eve@example.com")).json()["token"]
    await app.post(SEND_CODE, {"email": OWNER, "type": "email-verification"})
    body = {"email": OWNER, "otp": outbox.code(OWNER)}
    assert (await app.post("/api/auth/email-otp/verify-email", body, **bearer(eve))).status_code == 200
    assert await stranger.ways_left() == []
    assert await app.get_session(eve) is not None


async def test_a_proved_user_who_moves_in_their_own_session_loses_nothing(app: AuthApp, outbox: OutboxReader) -> None:
    owner = (await app.sign_up(OWNER)).json()["token"]
    await app.write('UPDATE "user" SET "emailVerified" = 1')
    other = (await app.post(SIGN_IN, {"email": OWNER, "password": PASSWORD})).json()["token"]
    await app.post("/api/auth/api-key/create", {}, **bearer(owner))
    await app.post("/api/auth/change-email", {"newEmail": MOVED}, **bearer(owner))
    moved = await app.http.get(outbox.link(MOVED), headers=bearer(owner))
    assert moved.status_code == 302
    assert [(await app.get_session(token))["user"]["email"] for token in (owner, other)] == [MOVED, MOVED]
    assert await app.rows("SELECT count(*) FROM apikey") == [(1,)]
    assert (await app.post(SIGN_IN, {"email": MOVED, "password": PASSWORD})).status_code == 200


async def test_a_guest_who_proves_an_address_is_none_any_more(app: AuthApp, outbox: OutboxReader) -> None:
    guest = (await app.post("/api/auth/sign-in/anonymous")).json()["token"]
    await app.post("/api/auth/api-key/create", {}, **bearer(guest))
    await app.post("/api/auth/email-otp/request-email-change", {"newEmail": MOVED}, **bearer(guest))
    body = {"newEmail": MOVED, "otp": outbox.code(MOVED)}
    await app.post("/api/auth/email-otp/change-email", body, **bearer(guest))
    user = (await app.get_session(guest))["user"]
    assert (user["email"], user["emailVerified"], user["isAnonymous"]) == (MOVED, True, False)
    assert await app.rows("SELECT count(*) FROM apikey") == [(0,)]


# Sign-ups that have to be verified ----------------------------------------------------------------------------------


@pytest.fixture
async def strict(tmp_path: Path, place: CentralPlace) -> AsyncIterator[AuthApp]:
    async with running_auth(tmp_path, hasher=QuickHasher(), place=place, email_verification="required") as running:
        yield running


async def sign_up(app: AuthApp, name: str, password: str) -> None:
    reply = await app.sign_up(OWNER, name=name, password=password, image=f"https://img.example/{name}.png")
    assert reply.json()["token"] is None
    assert (reply.json()["user"]["name"], reply.json()["user"]["email"]) == (name, OWNER)


async def signs_in(app: AuthApp, password: str) -> bool:
    return (await app.post(SIGN_IN, {"email": OWNER, "password": password})).status_code == 200


@pytest.mark.parametrize("owner_is_first", [True, False])
async def test_the_link_sets_what_was_chosen_in_its_own_sign_up(
    strict: AuthApp, outbox: OutboxReader, *, owner_is_first: bool
) -> None:
    order = [("Owner", OWN_PASSWORD), ("Stranger", PASSWORD)]
    links = {}
    for name, password in order if owner_is_first else reversed(order):
        await sign_up(strict, name, password)
        links[name] = outbox.link(OWNER)
    done = await strict.http.get(links["Owner"])
    user = (await strict.get_session(done.headers["set-auth-token"]))["user"]
    assert (user["name"], user["image"]) == ("Owner", "https://img.example/Owner.png")
    assert [await signs_in(strict, password) for _name, password in order] == [True, False]
    # What came to the same mailbox before is of no use any more, and gives nobody a session.
    late = await strict.http.get(links["Stranger"])
    assert "set-auth-token" not in late.headers
    assert [await signs_in(strict, password) for _name, password in order] == [True, False]
    assert await strict.rows('SELECT count(*) FROM "user"') == [(1,)]
    assert await strict.rows("SELECT count(*) FROM tenant") == [(1,)]


async def test_of_two_links_followed_at_once_one_decides_and_signs_in(strict: AuthApp, outbox: OutboxReader) -> None:
    links = []
    for name, password in (("Stranger", PASSWORD), ("Owner", OWN_PASSWORD)):
        await sign_up(strict, name, password)
        links.append(outbox.link(OWNER))
    replies = await asyncio.gather(*(strict.http.get(link) for link in links * 3))
    started = [reply for reply in replies if "set-auth-token" in reply.headers]
    assert len(started) == 1
    assert await strict.rows("SELECT count(*) FROM session") == [(1,)]
    ((name,),) = await strict.rows('SELECT name FROM "user"')
    assert await signs_in(strict, PASSWORD) is (name == "Stranger")
    assert await signs_in(strict, OWN_PASSWORD) is (name == "Owner")


async def test_a_link_that_no_sign_up_belongs_to_leaves_no_password(strict: AuthApp, outbox: OutboxReader) -> None:
    await sign_up(strict, "Stranger", PASSWORD)
    await strict.post("/api/auth/send-verification-email", {"email": OWNER})
    done = await strict.http.get(outbox.link(OWNER))
    assert (await strict.get_session(done.headers["set-auth-token"]))["user"]["email"] == OWNER
    assert not await signs_in(strict, PASSWORD)


async def test_a_password_that_is_sent_along_with_a_proof_becomes_the_accounts(
    strict: AuthApp, outbox: OutboxReader
) -> None:
    """For apps that let people verify by code, or ask for another link: they know what was typed at sign-up."""
    await sign_up(strict, "Stranger", PASSWORD)
    await sign_up(strict, "Owner", OWN_PASSWORD)
    await strict.post(SEND_CODE, {"email": OWNER, "type": "email-verification"})
    path, body = "/api/auth/email-otp/verify-email", {"email": OWNER, "otp": outbox.code(OWNER)}
    short = await strict.post(path, {**body, "password": "short"})
    assert short.json()["code"] == "PASSWORD_TOO_SHORT", "and the code is not used up"
    assert (await strict.post(path, {**body, "password": OWN_PASSWORD})).status_code == 200
    assert [await signs_in(strict, password) for password in (OWN_PASSWORD, PASSWORD)] == [True, False]


async def test_a_link_that_is_sent_again_takes_the_password_along(strict: AuthApp, outbox: OutboxReader) -> None:
    await sign_up(strict, "Stranger", PASSWORD)
    body = {"email": OWNER, "password": OWN_PASSWORD}
    assert (await strict.post("/api/auth/send-verification-email", body)).json() == {"status": True}
    assert "set-auth-token" in (await strict.http.get(outbox.link(OWNER))).headers
    assert [await signs_in(strict, password) for password in (OWN_PASSWORD, PASSWORD)] == [True, False]
    # Once proved, nobody's password is changed in this way.
    await strict.post(SEND_CODE, {"email": OWNER, "type": "email-verification"})
    body = {"email": OWNER, "otp": outbox.code(OWNER), "password": "a-third-password"}
    assert (await strict.post("/api/auth/email-otp/verify-email", body)).status_code == 200
    assert [await signs_in(strict, password) for password in (OWN_PASSWORD, "a-third-password")] == [True, False]


async def test_what_a_sign_up_chose_stands_nowhere_in_its_link(strict: AuthApp, outbox: OutboxReader) -> None:
    await sign_up(strict, "Owner", OWN_PASSWORD)
    chosen = await QuickHasher().hash(OWN_PASSWORD)
    assert chosen not in outbox.mails(OWNER)[-1]["text"]
    ((identifier, value),) = await strict.rows(
        "SELECT identifier, value FROM verification WHERE identifier LIKE 'sign-up:%'"
    )
    assert OWN_PASSWORD not in value
    for trick in (identifier, identifier.removeprefix("sign-up:"), value):
        assert (await strict.http.get(VERIFY, params={"token": trick})).status_code == 401


# Resets of an account that was proved -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", sorted(RESETS))
async def test_a_reset_ends_sessions_keys_and_unvouched_identities_of_a_proved_account(
    app: AuthApp, outbox: OutboxReader, way: Way
) -> None:
    thief = await stranger_at(app)
    await app.write('UPDATE "user" SET "emailVerified" = 1')
    for subject, vouched_for in (("right", OWNER), ("elsewhere", MOVED), ("unknown", None)):
        await app.write(
            'INSERT INTO account (id, "userId", "providerId", "accountId", "createdAt", "updatedAt",'
            " \"vouchedFor\") VALUES (?, ?, 'oidc', ?, '2026-01-01T00:00:00.000Z',"
            " '2026-01-01T00:00:00.000Z', ?)",
            subject, thief.user_id, subject, vouched_for,
        )  # fmt: skip
    await WAYS[way](app, outbox, thief)
    assert await thief.ways_left() == ["oidc"]
    subjects = await app.rows('SELECT "accountId" FROM account WHERE "providerId" = \'oidc\'')
    assert subjects == [("right",)]
    assert (await app.post(SIGN_IN, {"email": OWNER, "password": OWN_PASSWORD})).status_code == 200


# What the owner is told ---------------------------------------------------------------------------------------------

ADDRESS_CHANGED, PASSWORD_CHANGED = "Your e-mail address was changed", "Your password was changed"


async def test_an_owner_is_told_of_each_change_at_the_address_that_was_proved(
    app: AuthApp, outbox: OutboxReader
) -> None:
    owner = bearer((await app.sign_up(OWNER)).json()["token"])
    user_id = (await app.rows('SELECT id FROM "user"'))[0][0]
    change = {"currentPassword": PASSWORD, "newPassword": OWN_PASSWORD}
    back = {"currentPassword": OWN_PASSWORD, "newPassword": PASSWORD}
    assert (await app.post("/api/auth/change-password", change, **owner)).status_code == 200
    assert outbox.mails() == [], "nobody has shown yet that the address is theirs"
    await app.write('UPDATE "user" SET "emailVerified" = 1')

    assert (await app.post("/api/auth/change-password", back, **owner)).status_code == 200
    assert told(outbox, OWNER) == [PASSWORD_CHANGED]
    await by_reset_link(app, outbox, Stranger(app, user_id, [], ""))
    assert told(outbox, OWNER) == [PASSWORD_CHANGED] * 2
    again = await app.post(SIGN_IN, {"email": OWNER, "password": OWN_PASSWORD})
    owner = bearer(again.json()["token"])
    await app.post("/api/auth/email-otp/request-email-change", {"newEmail": MOVED}, **owner)
    body = {"newEmail": MOVED, "otp": outbox.code(MOVED)}
    assert (await app.post("/api/auth/email-otp/change-email", body, **owner)).status_code == 200
    assert told(outbox, OWNER) == [PASSWORD_CHANGED, PASSWORD_CHANGED, ADDRESS_CHANGED]
    assert told(outbox, MOVED) == []
    await app.post("/api/auth/change-email", {"newEmail": "third@example.com"}, **owner)
    assert (await app.http.get(outbox.link("third@example.com"), headers=owner)).status_code == 302
    assert told(outbox, MOVED) == [ADDRESS_CHANGED]
    await as_administrator(app, user_id, {"email": "fourth@example.com", "name": "A"})
    assert told(outbox, "third@example.com") == [ADDRESS_CHANGED]
    assert told(outbox, "fourth@example.com") == []
    for mail in outbox.mails():
        if mail["subject"] in {ADDRESS_CHANGED, PASSWORD_CHANGED}:
            assert not re.search(r"http|\d{6}|@", mail["text"])


async def test_notices_flood_nobody_and_stop_nothing(app: AuthApp, outbox: OutboxReader) -> None:
    owner = bearer((await app.sign_up(OWNER)).json()["token"])
    await app.write('UPDATE "user" SET "emailVerified" = 1')
    passwords = [PASSWORD, OWN_PASSWORD] * 4
    for old, new in itertools.pairwise(passwords):
        body = {"currentPassword": old, "newPassword": new}
        assert (await app.post("/api/auth/change-password", body, **owner)).status_code == 200
    assert told(outbox, OWNER) == [PASSWORD_CHANGED] * 3
    outbox.path.unlink()
    outbox.path.mkdir()  # no mail goes out any more
    await app.write("DELETE FROM verification")
    body = {"currentPassword": passwords[-1], "newPassword": passwords[-2]}
    assert (await app.post("/api/auth/change-password", body, **owner)).status_code == 200


def told(outbox: OutboxReader, to: str) -> list[str]:
    subjects = [mail["subject"] for mail in outbox.mails(to)]
    return [subject for subject in subjects if subject in {ADDRESS_CHANGED, PASSWORD_CHANGED}]


# At the same moment -------------------------------------------------------------------------------------------------


async def test_nothing_that_is_under_way_survives_the_owners_arrival(app: AuthApp, outbox: OutboxReader) -> None:
    """The stranger signs in, makes keys and asks for changes all the time while the owner comes."""
    stranger = await stranger_at(app)
    first = bearer(stranger.sessions[0])
    await app.post("/api/auth/request-password-reset", {"email": OWNER})
    token = outbox.token(OWNER)
    sessions: list[str] = []
    is_over = asyncio.Event()

    async def sign_in() -> None:
        while not is_over.is_set():
            reply = await app.post(SIGN_IN, {"email": OWNER, "password": PASSWORD})
            if reply.status_code == 200:
                sessions.append(reply.json()["token"])

    async def make_keys() -> None:
        while not is_over.is_set():
            await app.post("/api/auth/api-key/create", {}, **first)

    tasks = [asyncio.create_task(does()) for does in (sign_in, sign_in, make_keys, make_keys)]
    await asyncio.sleep(0.3)
    reply = await app.post("/api/auth/reset-password", {"token": token, "newPassword": OWN_PASSWORD})
    assert reply.status_code == 200
    await asyncio.sleep(0.2)
    is_over.set()
    await asyncio.gather(*tasks)
    stranger.sessions += sessions
    assert await stranger.ways_left() == []


async def test_of_proofs_at_once_each_counts_once_and_nothing_of_the_strangers_is_left(
    app: AuthApp, outbox: OutboxReader
) -> None:
    """The owner resets, verifies and signs in by code at the same moment, each several times over."""
    stranger = await stranger_at(app)
    for kind in ("sign-in", "email-verification"):
        await app.post(SEND_CODE, {"email": OWNER, "type": kind})
        await app.write("DELETE FROM verification WHERE identifier LIKE 'code-mails-%'")
    sign_in, verify = ((re.findall(r"(?m)^\d{6}$", mail["text"])) for mail in outbox.mails(OWNER)[-2:])
    await app.post("/api/auth/send-verification-email", {"email": OWNER})
    link = outbox.link(OWNER)
    await app.post("/api/auth/request-password-reset", {"email": OWNER})
    reset = {"token": outbox.token(OWNER), "newPassword": OWN_PASSWORD}
    does: list[Callable[[], Awaitable[httpx.Response]]] = [
        lambda: app.post("/api/auth/sign-in/email-otp", {"email": OWNER, "otp": sign_in[0]}),
        lambda: app.post("/api/auth/email-otp/verify-email", {"email": OWNER, "otp": verify[0]}),
        lambda: app.post("/api/auth/reset-password", reset),
        lambda: app.http.get(link),
        lambda: app.post(SIGN_IN, {"email": OWNER, "password": PASSWORD}),
    ]
    replies = await asyncio.gather(*(do() for do in does * 3))
    assert all(reply.status_code < 500 for reply in replies)
    in_by_code, verified, reset_done = ([r for r in replies[n::5] if r.status_code == 200] for n in range(3))
    assert [len(done) <= 1 for done in (in_by_code, verified, reset_done)] == [True] * 3
    assert in_by_code or verified or reset_done
    stranger.sessions += [reply.json()["token"] for reply in replies[4::5] if reply.status_code == 200]
    assert await stranger.ways_left() == []
    proved = await app.rows("SELECT count(*) FROM audit_entry WHERE action = 'user.email_verified'")
    assert proved == [(1,)]
    assert await app.rows('SELECT "emailVerified" FROM "user"') == [(1,)]
    assert await app.rows("SELECT count(*) FROM tenant") == [(1,)]


async def test_who_showed_something_for_an_address_that_the_account_has_no_longer_is_too_late(app: AuthApp) -> None:
    """A code was right a moment ago; the account is another's meanwhile."""
    await app.sign_up(MOVED)
    found = await app.auth.store.find_credential(MOVED)
    assert found is not None
    await as_administrator(app, found.user.user_id, {"email": OWNER})
    for method in ("code", "link", "password"):
        with pytest.raises(NotFound):
            await app.auth.start_session(found.user, Client(), method=method)


async def test_who_has_signed_in_elsewhere_but_not_here_yet_is_too_late(app: AuthApp, outbox: OutboxReader) -> None:
    stranger = await stranger_at(app)
    accounts = CentralSocial(app.central)
    user = await accounts.find_user(UNVOUCHED.provider_id, UNVOUCHED.subject)
    assert user is not None
    await by_reset_code(app, outbox, stranger)
    with pytest.raises(NotFound):
        await app.auth.start_session(user, Client(), method="social:careless", identity=UNVOUCHED)
    assert await app.rows("SELECT count(*) FROM session") == [(0,)]
