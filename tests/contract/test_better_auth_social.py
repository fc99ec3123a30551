"""Replays what a real better-auth server was recorded answering to social sign-in, with a real provider beside us.

What is different, and why:
- Google is asked with a `nonce`, too, which binds its id token to the question;
- `get-access-token`, `refresh-token` and `account-info` answer as for an account without tokens: none are kept,
  see docs/decisions.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

import pytest
from testbed.oidc_server import Browser, OidcServer
from tests.contract.test_better_auth import OWNERS, SECURE_ORIGIN, Replay
from tests.support.auth_app import AuthApp, running_service

from freehold.settings.fields import Secret

RECORDED = json.loads((Path(__file__).parent / "captures/better_auth_social.json").read_text())
CAPTURES: dict[str, dict[str, Any]] = {capture["name"]: capture for capture in RECORDED["captures"]}
WITHOUT_TOKENS = {
    "oauth.get-access-token": "FAILED_TO_GET_ACCESS_TOKEN",
    "oauth.refresh-token": "REFRESH_TOKEN_NOT_FOUND",
    "oauth.account-info": "ACCESS_TOKEN_NOT_FOUND",
}
# As whom the browser signs in at the provider.
NAMES = {
    "oauth.new-user": "oidc-new",
    "oauth.returning-user": "oidc-new",
    "oauth.provider-error": "oidc-new",
    "oauth.state-cookie-missing": "oidc-new",
    "oauth.unverified-email-new-user": "unverified-fresh",
    "oauth.existing-email-not-linked": "unverified-existing",
    "oauth.link": "oidc-link",
}
# Who they were at the recorded provider, and are at ours.
SUBJECTS = {"8f2d30d62ac6f97517f338e5": "oidc-new", "0c290c64b5a021976e794d51": "oidc-link"}
OWNERS["<token:39>"] = ("Link", "oidc-link@example.com")


@pytest.fixture(scope="module")
def oidc() -> Iterator[OidcServer]:
    with OidcServer("fake", client_id="fake-client") as server:
        yield server


def settings(oidc: OidcServer) -> dict[str, Any]:
    return {
        "oidc_id": "fake",
        "oidc_issuer": oidc.issuer,
        "oidc_client_id": oidc.client_id,
        "oidc_client_secret": Secret(oidc.client_secret),
        "google_client_id": "google-client",
        "google_client_secret": Secret("google-secret"),
        "github_client_id": "github-client",
        "github_client_secret": Secret("github-secret"),
    }


async def test_social_sign_in_answers_as_better_auth_was_recorded_to(oidc: OidcServer, tmp_path: Path) -> None:
    async with running_service(tmp_path, **settings(oidc)) as app:
        replay = SocialReplay(app, oidc)
        recorded = [capture for name, capture in CAPTURES.items() if name != "secure.oauth-state"]
        for capture in recorded:
            assert await replay.play(capture) == []


async def test_on_an_https_origin_the_state_is_a_secure_cookie(oidc: OidcServer, tmp_path: Path) -> None:
    async with running_service(tmp_path, better_auth_url=SECURE_ORIGIN, **settings(oidc)) as app:
        assert await SocialReplay(app, oidc).play(CAPTURES["secure.oauth-state"]) == []


class SocialReplay(Replay):
    """Also walks a browser through the provider between a start and its callback."""

    def __init__(self, app: AuthApp, oidc: OidcServer) -> None:
        super().__init__(app, has_cors=True)
        self.oidc = oidc
        self.url = ""  # where the last start sent the browser

    async def play(self, capture: dict[str, Any]) -> list[str]:
        name = capture["name"]
        await self.prepare(capture)
        sent = {**capture, "request": self._known(await self._with_code(capture["request"], name))}
        reply = await self.send(sent)
        expected = capture["response"]
        if name in WITHOUT_TOKENS:
            return self.compare([400, WITHOUT_TOKENS[name]], [reply.status_code, reply.json()["code"]], name)
        if "code_challenge" in json.dumps(expected):
            self.url = reply.json()["url"]
            self._learn(name)
        expected = self._known(expected)
        faults = [
            *self.compare(expected["status"], reply.status_code, "status"),
            *self.compare_headers(expected["headers"], reply),
            *self.compare_cookies(expected.get("setCookie", []), reply.headers.get_list("set-cookie")),
            *self.compare(expected["body"], reply.json() if reply.content else "", "body"),
        ]
        return [f"{name}: {fault}" for fault in faults]

    async def prepare(self, capture: dict[str, Any]) -> None:
        await super().prepare(capture)
        name = capture["name"]
        if name.startswith("oauth.existing-email"):
            await self.app.sign_up("existing@example.com")
        for placeholder, subject in (("<id:39>", "oidc-new"), ("<id:42>", "oidc-link")):
            if placeholder in json.dumps(capture["request"]):
                ((found,),) = await self.app.rows('SELECT id FROM account WHERE "accountId" = ?', subject)
                self.bound[placeholder] = found

    async def _with_code(self, request: dict[str, Any], name: str) -> dict[str, Any]:
        who = NAMES.get(name.rpartition(".")[0], "")
        if "<code>" not in request["path"]:
            return request
        back = await asyncio.to_thread(Browser(self.app.url).consent, self.url, who)
        code, issuer = (parse_qs(urlsplit(back).query)[field][0] for field in ("code", "iss"))
        # This provider says who it is, as newer ones do; the recorded one did not.
        path = request["path"].replace("<code>", quote(code, safe="")) + f"&iss={quote(issuer, safe='')}"
        return {**request, "path": path}

    def _learn(self, name: str) -> None:
        query = parse_qs(urlsplit(self.url).query)
        self.bound["<state>"] = query["state"][0]
        assert re.fullmatch(r"[\w-]{32}", query["state"][0])
        assert re.fullmatch(r"[\w-]{43}", query["code_challenge"][0])
        assert len(query.get("nonce", ["x" * 32])[0]) >= 32
        self.bound["<s256-challenge>"] = query["code_challenge"][0]
        self.bound["<nonce>"] = query.get("nonce", [""])[0]

    def _known(self, recorded: Any) -> Any:
        text = json.dumps(recorded).replace("{OIDC}", self.oidc.issuer)
        for subject, name in SUBJECTS.items():
            text = text.replace(subject, name)
        for placeholder, value in self.bound.items():
            if placeholder in {"<state>", "<s256-challenge>", "<nonce>", "<id:39>", "<id:42>"}:
                text = text.replace(placeholder, value)
        return json.loads(text)

    def matches(self, expected: str, found: str) -> bool:
        if "code_challenge=" in expected:
            expected = expected.replace("{BASE}", quote(self.app.url, safe=""))
            return _asked(expected) == _asked(found)
        return super().matches(expected, found)


def _asked(url: str) -> tuple[str, list[tuple[str, str]]]:
    """Whom, and with what in any order."""
    whom, _, query = url.partition("?")
    asked = parse_qsl(query)
    if "google" in whom:
        asked = [(name, value) for name, value in asked if name != "nonce"]
    return whom, sorted(asked)
