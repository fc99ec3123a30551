"""Identities at an issuer: which of them outlive their owner's arrival and reset. With a service that is whole."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from testbed.mailed import OutboxReader

from freehold.auth.importing.records import Record, Unusable, newcomer
from freehold.auth.importing.service import UserImport
from freehold.central.auth.better_auth import UserLines
from freehold.central.auth.user_import import CentralUserImport
from freehold.settings.fields import Secret
from tests.simulators.evil_issuer import CLIENT_ID, CLIENT_SECRET, Issuer, evil_issuer
from tests.support.auth_app import AuthApp, QuickHasher, running_service

OWNER, PASSWORD, OWN_PASSWORD = "somebody@example.com", "correct-horse-1", "the-owners-pass-2"


@dataclass
class IssuerSignIn:
    app: AuthApp
    issuer: Issuer
    outbox: OutboxReader

    async def come(self, *, vouches: bool, subject: str = "somebody", email: str = OWNER) -> str:
        """Sign in there and come back: the session's token, or where the browser is sent without one."""
        return await self._there_and_back("sign-in/social", {}, vouches, subject, email)

    async def link(self, token: str, *, vouches: bool, subject: str, email: str = OWNER) -> str:
        return await self._there_and_back("link-social", bearer(token), vouches, subject, email)

    async def _there_and_back(self, path: str, headers: dict[str, str], vouches: bool, subject: str, email: str) -> str:
        self.issuer.claims = {"sub": subject, "email": email, "email_verified": vouches}
        asked = {"provider": "oidc", "callbackURL": "/in", "errorCallbackURL": "/oops"}
        started = await self.app.http.post(f"/api/auth/{path}", json=asked, headers=headers)
        assert started.status_code == 200, started.text
        query = parse_qs(urlsplit(started.json()["url"]).query)
        self.issuer.nonce = query["nonce"][0]
        cookie = started.headers["set-cookie"].split(";")[0]
        back = {"code": "x", "state": query["state"][0], "iss": self.issuer.url}
        done = await self.app.http.get("/api/auth/callback/oidc", params=back, headers={**headers, "cookie": cookie})
        assert done.status_code == 302
        token = done.headers.get("set-auth-token", "")
        return token.partition(".")[0] or done.headers["location"]

    async def reset(self) -> None:
        await self.app.post("/api/auth/email-otp/request-password-reset", {"email": OWNER})
        body = {"email": OWNER, "otp": self.outbox.code(OWNER), "password": OWN_PASSWORD}
        reply = await self.app.post("/api/auth/email-otp/reset-password", body)
        assert reply.status_code == 200, reply.text

    async def is_in(self, token: str) -> bool:
        return await self.app.get_session(token) is not None

    async def identities(self) -> list[tuple[Any, ...]]:
        return await self.app.rows(
            'SELECT "accountId", "vouchedFor" FROM account WHERE "providerId" = \'oidc\' ORDER BY 1'
        )


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[IssuerSignIn]:
    async with (
        evil_issuer() as issuer,
        running_service(
            tmp_path,
            QuickHasher(),
            oidc_issuer=issuer.url,
            oidc_client_id=CLIENT_ID,
            oidc_client_secret=Secret(CLIENT_SECRET),
        ) as app,
    ):
        yield IssuerSignIn(app, issuer, OutboxReader(tmp_path / "outbox.jsonl"))


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_an_identity_whose_issuer_does_not_vouch_ends_with_the_owners_reset(scene: IssuerSignIn) -> None:
    stranger = await scene.come(vouches=False)
    assert await scene.is_in(stranger)
    await scene.reset()
    assert not await scene.is_in(stranger)
    assert await scene.come(vouches=False) == "/oops?error=account_not_linked"
    assert await scene.identities() == []
    # The owner's own identity is another one, whose issuer vouches: it is linked to the account that is theirs now.
    assert await scene.is_in(await scene.come(vouches=True, subject="owner"))


async def test_an_identity_whose_issuer_vouches_outlives_resets(scene: IssuerSignIn) -> None:
    first = await scene.come(vouches=True)
    assert await scene.identities() == [("somebody", OWNER)]
    await scene.reset()
    assert not await scene.is_in(first), "sessions end all the same"
    user_id = (await scene.app.rows('SELECT id FROM "user"'))[0][0]
    again = await scene.come(vouches=True)
    assert (await scene.app.get_session(again))["user"]["id"] == user_id
    assert await scene.identities() == [("somebody", OWNER)]


async def test_that_an_issuer_once_vouched_is_not_forgotten_nor_taken_for_another_address(scene: IssuerSignIn) -> None:
    await scene.come(vouches=True)
    await scene.come(vouches=False)
    await scene.come(vouches=True, email="elsewhere@example.com")
    assert await scene.identities() == [("somebody", OWNER)]
    await scene.reset()
    assert await scene.identities() == [("somebody", OWNER)]
    await scene.app.write("UPDATE \"user\" SET email = 'moved@example.com'")
    await scene.come(vouches=True, email=OWNER)
    assert await scene.identities() == [("somebody", OWNER)]
    await scene.app.write("UPDATE account SET \"vouchedFor\" = 'elsewhere@example.com'")
    await scene.app.write('UPDATE "user" SET email = ?', OWNER)
    await scene.reset()
    assert await scene.identities() == []


async def test_an_identity_of_an_older_version_ends_with_a_reset_and_is_linked_again_by_itself(
    scene: IssuerSignIn,
) -> None:
    """Nobody noted whether its issuer vouched; if it does, nobody notices."""
    token = await scene.come(vouches=True)
    user_id = (await scene.app.get_session(token))["user"]["id"]
    await scene.app.write('UPDATE account SET "vouchedFor" = NULL')
    await scene.reset()
    assert await scene.identities() == []
    again = await scene.come(vouches=True)
    assert (await scene.app.get_session(again))["user"]["id"] == user_id
    assert await scene.identities() == [("somebody", OWNER)]


async def test_an_older_identity_is_noted_at_its_next_sign_in(scene: IssuerSignIn) -> None:
    await scene.come(vouches=True)
    await scene.app.write('UPDATE account SET "vouchedFor" = NULL')
    await scene.come(vouches=True)
    await scene.reset()
    assert await scene.identities() == [("somebody", OWNER)]


async def test_an_issuer_that_comes_to_vouch_proves_the_address(scene: IssuerSignIn) -> None:
    first = await scene.come(vouches=False)
    key = await scene.app.post("/api/auth/api-key/create", {}, **bearer(first))
    assert key.status_code == 200
    # Somebody else's identity that got there in some way.
    await scene.app.write(
        'INSERT INTO account (id, "userId", "providerId", "accountId", "createdAt", "updatedAt") SELECT'
        " 'other', id, 'oidc', 'other', \"createdAt\", \"updatedAt\" FROM \"user\""
    )
    second = await scene.come(vouches=True)
    assert [await scene.is_in(token) for token in (first, second)] == [False, True]
    assert (await scene.app.get_session(second))["user"]["emailVerified"] is True
    assert await scene.identities() == [("somebody", OWNER)]
    assert await scene.app.rows("SELECT count(*) FROM apikey") == [(0,)]


async def test_linking_an_identity_that_is_vouched_for_proves_the_address_in_that_session(scene: IssuerSignIn) -> None:
    own = (await scene.app.sign_up(OWNER)).json()["token"]
    other = (await scene.app.post("/api/auth/sign-in/email", {"email": OWNER, "password": PASSWORD})).json()
    assert await scene.link(own, vouches=True, subject="own") == "/in"
    assert [await scene.is_in(token) for token in (own, other["token"])] == [True, False]
    assert (await scene.app.get_session(own))["user"]["emailVerified"] is True
    signed_in = await scene.app.post("/api/auth/sign-in/email", {"email": OWNER, "password": PASSWORD})
    assert signed_in.status_code == 200, "it is the password of whoever has this session"


async def test_a_link_that_is_under_way_when_the_owner_arrives_adds_nothing(scene: IssuerSignIn) -> None:
    stranger = (await scene.app.sign_up(OWNER)).json()["token"]
    asked = {"provider": "oidc", "callbackURL": "/in", "errorCallbackURL": "/oops"}
    started = await scene.app.http.post("/api/auth/link-social", json=asked, headers=bearer(stranger))
    query = parse_qs(urlsplit(started.json()["url"]).query)
    scene.issuer.nonce = query["nonce"][0]
    await scene.reset()
    done = await scene.app.http.get(
        "/api/auth/callback/oidc",
        params={"code": "x", "state": query["state"][0], "iss": scene.issuer.url},
        headers={**bearer(stranger), "cookie": started.headers["set-cookie"].split(";")[0]},
    )
    assert done.headers["location"] == "/oops?error=state_mismatch"
    assert await scene.identities() == []


# Users from elsewhere -----------------------------------------------------------------------------------------------


async def test_an_imported_identity_does_not_end_at_its_first_sign_in(scene: IssuerSignIn, tmp_path: Path) -> None:
    """Import keeps `emailVerified`, so nobody arrives there."""
    lines = tmp_path / "users.jsonl"
    lines.write_text(
        '{"id": "u1", "email": "somebody@example.com", "name": "S", "emailVerified": true, "accounts":'
        ' [{"providerId": "oidc", "accountId": "somebody"}, {"providerId": "github", "accountId": "7"}]}\n'
    )
    with lines.open("rb") as file:
        moving = UserImport(CentralUserImport(scene.app.central, "local"))
        async for _ in moving.run(UserLines(file)):
            pass
    token = await scene.come(vouches=True)
    assert (await scene.app.get_session(token))["user"]["id"] == "u1"
    accounts = await scene.app.rows('SELECT "providerId", "vouchedFor" FROM account ORDER BY 1')
    assert accounts == [("github", None), ("oidc", OWNER)]


def test_no_letter_turns_an_address_into_anothers_by_its_case() -> None:
    """The Kelvin sign is a `k` in lower case."""
    with pytest.raises(Unusable, match="email"):
        newcomer(Record(user={"email": "\u212aim@example.com"}), now=None)  # type: ignore[arg-type]
