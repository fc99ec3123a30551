"""GitHub as its published documentation has it, as far as signing in goes; the real one cannot be had in tests.

Sources: "Authorizing OAuth apps" (the web application flow, PKCE, error answers), "Troubleshooting OAuth app access
token request errors", and the REST reference for `GET /user` and `GET /user/emails`, all at https://docs.github.com.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

from tests.support.serving import listen, serving

CLIENT_ID, CLIENT_SECRET = "Iv1.0123456789abcdef", "0123456789abcdef0123456789abcdef01234567"


def _emails() -> list[dict[str, Any]]:
    return [
        {"email": "other@example.com", "verified": True, "primary": False, "visibility": None},
        {"email": "Octocat@Example.com", "verified": True, "primary": True, "visibility": "public"},
    ]


@dataclass
class GitHub:
    """One user, who always says yes. `emails` is what `GET /user/emails` lists; None: the app may not ask."""

    url: str = ""
    user: dict[str, Any] = field(
        default_factory=lambda: {
            "login": "octocat",
            "id": 1,
            "name": "monalisa octocat",
            "email": "public@example.com",
            "avatar_url": "https://github.com/images/error/octocat_happy.gif",
        }
    )
    emails: list[dict[str, Any]] | None = field(default_factory=_emails)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    takes_codes: bool = True

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser goes back to."""
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"  # GitHub knows no other
        code = secrets.token_hex(10)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def exchange(self, form: dict[str, str]) -> dict[str, Any]:
        """Errors come with status 200."""
        if form.get("client_id") != CLIENT_ID or form.get("client_secret") != CLIENT_SECRET:
            return _error("incorrect_client_credentials")
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        expected = base64.urlsafe_b64encode(challenge).rstrip(b"=").decode()
        if not self.takes_codes or asked is None or asked["code_challenge"] != expected:
            return _error("bad_verification_code")
        if form.get("redirect_uri") != asked["redirect_uri"]:
            return _error("redirect_uri_mismatch")
        token = f"gho_{secrets.token_hex(18)}"
        self.tokens.add(token)
        return {"access_token": token, "token_type": "bearer", "scope": "read:user,user:email"}

    def api(self, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        if not headers.get("user-agent"):
            return 403, {"message": "Request forbidden by administrative rules."}
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() not in {"bearer", "token"} or token not in self.tokens:
            return 401, {"message": "Bad credentials"}
        if path == "/user":
            return 200, self.user
        if path == "/user/emails" and self.emails is not None:
            return 200, self.emails
        return 404, {"message": "Not Found"}

    def answer(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> Any:
        """Status, further headers, content."""
        if (method, path) == ("GET", "/login/oauth/authorize"):
            asked = {name: values[0] for name, values in parse_qs(query).items()}
            return 302, {"location": self.authorize(asked)}, {}
        if (method, path) == ("POST", "/login/oauth/access_token"):
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            found = self.exchange(form)
            if "application/json" in headers.get("accept", ""):
                return 200, {}, found
            return 200, {"content-type": "application/x-www-form-urlencoded"}, urlencode(found)
        if method == "GET" and path.startswith("/api/v3/"):
            status, content = self.api(path.removeprefix("/api/v3"), headers)
            return status, {}, content
        return 404, {}, {}


def _error(code: str) -> dict[str, Any]:
    return {"error": code, "error_description": "as the documentation says", "error_uri": "https://docs.github.com"}


@asynccontextmanager
async def github() -> AsyncIterator[GitHub]:
    """One on a free loopback port, addressed as a GitHub Enterprise Server is."""
    listener, url = listen()
    simulated = GitHub(url=url)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        status, more, content = simulated.answer(
            scope["method"], scope["path"], scope["query_string"].decode(), headers, body
        )
        kept = {"content-type": "application/json", **more}
        start = {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in kept.items()],
        }
        await send(start)
        text = content if isinstance(content, str) else json.dumps(content)
        await send({"type": "http.response.body", "body": text.encode()})

    async with serving(app, listener):
        yield simulated
