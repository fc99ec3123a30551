"""Sign-in with GitHub: the whole service against a simulation of GitHub's published contract."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from freehold.settings.fields import Secret
from tests.simulators.github import CLIENT_ID, CLIENT_SECRET, GitHub, github
from tests.support.auth_app import AuthApp, running_service


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[AuthApp, GitHub]]:
    async with (
        github() as simulated,
        running_service(
            tmp_path,
            github_client_id=CLIENT_ID,
            github_client_secret=Secret(CLIENT_SECRET),
            github_url=simulated.url,
            github_api_url=f"{simulated.url}/api/v3",
        ) as app,
    ):
        yield app, simulated


async def sign_in(app: AuthApp) -> httpx.Response:
    """The answer to the browser that comes back from GitHub."""
    started = await app.post(
        "/api/auth/sign-in/social",
        {"provider": "github", "newUserCallbackURL": "/welcome", "callbackURL": "/dash", "errorCallbackURL": "/oops"},
    )
    assert started.status_code == 200, started.text
    cookie = started.headers["set-cookie"].partition(";")[0]
    async with httpx.AsyncClient() as browser:
        back = (await browser.get(started.json()["url"])).headers["location"]
    return await app.http.get(back, headers={"cookie": cookie})


async def test_a_github_user_gets_an_account_by_their_primary_address(world: tuple[AuthApp, GitHub]) -> None:
    app, _ = world
    reply = await sign_in(app)
    assert reply.headers["location"] == "/welcome"
    token = unquote(reply.headers["set-auth-token"])
    user = (await app.get_session(token))["user"]
    assert (user["email"], user["emailVerified"]) == ("octocat@example.com", True)
    assert user["name"] == "monalisa octocat"
    found = await app.rows('SELECT "providerId", "accountId", "accessToken", scope FROM account')
    assert found == [("github", "1", None, "read:user,user:email")]
    assert (await sign_in(app)).headers["location"] == "/dash"
    assert await app.rows('SELECT count(*) FROM "user"') == [(1,)]


async def test_the_id_counts_and_not_the_name_or_the_address(world: tuple[AuthApp, GitHub]) -> None:
    """Names are given to others once they are free; ids are not."""
    app, simulated = world
    await sign_in(app)
    simulated.user["login"], simulated.emails = (
        "renamed",
        [{"email": "new@example.com", "verified": True, "primary": True, "visibility": None}],
    )
    assert (await sign_in(app)).headers["location"] == "/dash"
    simulated.user["id"] = 2
    assert (await sign_in(app)).headers["location"] == "/welcome"
    assert await app.rows('SELECT count(*) FROM "user"') == [(2,)]


async def test_an_address_that_github_has_not_verified_links_nothing(world: tuple[AuthApp, GitHub]) -> None:
    app, simulated = world
    await app.sign_up("octocat@example.com")
    await app.write('UPDATE "user" SET "emailVerified" = 1')
    simulated.emails = [
        {"email": "octocat@example.com", "verified": False, "primary": True, "visibility": None},
        {"email": "mine@example.com", "verified": True, "primary": False, "visibility": None},
    ]
    assert (await sign_in(app)).headers["location"] == "/oops?error=account_not_linked"
    simulated.emails = None  # the user took that right away; what the profile shows is worth nothing
    simulated.user["email"] = "octocat@example.com"
    assert (await sign_in(app)).headers["location"] == "/oops?error=account_not_linked"


async def test_without_any_address_there_is_no_account(world: tuple[AuthApp, GitHub]) -> None:
    app, simulated = world
    simulated.emails, simulated.user["email"] = None, None
    assert (await sign_in(app)).headers["location"] == "/oops?error=email_not_found"


@pytest.mark.parametrize("number", [None, "1", 1.5, True, [], {"id": 1}])
async def test_a_user_without_a_number_is_nobody(world: tuple[AuthApp, GitHub], number: object) -> None:
    app, simulated = world
    simulated.user["id"] = number
    assert (await sign_in(app)).headers["location"] == "/oops?error=unable_to_get_user_info"


async def test_a_code_that_github_does_not_take_is_invalid_though_the_status_is_200(
    world: tuple[AuthApp, GitHub],
) -> None:
    app, simulated = world
    simulated.takes_codes = False
    assert (await sign_in(app)).headers["location"] == "/oops?error=invalid_code"
