"""Auth alone behind real HTTP: its routes on a Litestar application, a central database in a file, nothing else."""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar, get, post
from litestar.di import NamedDependency, Provide

from freehold.auth.email.code_sign_in import CodeSignIn
from freehold.auth.lockout import Lockout
from freehold.auth.origins import TrustedOrigins
from freehold.auth.passwords.passwords import ScryptHasher
from freehold.auth.places import KnownPlaces
from freehold.auth.ports import PasswordHasher
from freehold.auth.service import Auth
from freehold.auth.sessions.cookies import SessionCookies
from freehold.auth.sessions.sessions import Sessions
from freehold.auth.types import SignedIn
from freehold.auth.users.admin import UserAdmin
from freehold.auth.users.guests import Guests
from freehold.central.audit_store import CentralAudit
from freehold.central.auth.user_admin import CentralUserAdmin
from freehold.central.auth.users import CentralUsers
from freehold.central.auth.wrong_passwords import CentralWrongPasswords
from freehold.central.engine import Central
from freehold.http.app import create_asgi
from freehold.http.auth.account import AccountEndpoints
from freehold.http.auth.admin import AdminEndpoints
from freehold.http.auth.api_keys import ApiKeyEndpoints
from freehold.http.auth.codes import CodeEndpoints
from freehold.http.auth.context import AuthContext
from freehold.http.auth.emails import EmailEndpoints
from freehold.http.auth.form import form_routes
from freehold.http.auth.passwords import PasswordEndpoints
from freehold.http.auth.sign_in import SignInEndpoints
from freehold.http.auth.table import auth_routes
from freehold.http.auth.tokens import TokenEndpoints
from freehold.http.client_address import ClientAddresses
from freehold.http.guards import provide_signed_in, require_admin
from freehold.http.problems import EXCEPTION_HANDLERS
from freehold.mail.outbox import Outbox
from freehold.settings.fields import Secret, Settings
from freehold.wiring.services import open_services
from freehold.wiring.sign_in import email_addresses, open_accounts, open_password_resets
from freehold.wiring.tokens import TokenServices, open_tokens
from tests.support.central_place import CentralPlace
from tests.support.central_template import begin_file
from tests.support.serving import listen, serving

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEF-test-secret"
TRUSTED = "http://trusted.example"

_NO_AGENT = {"user-agent": ""}
_PATIENCE_S = 60.0  # twenty hashes at once take a while on a busy machine, and no test is about that


class QuickHasher:
    """For tests that are not about passwords: takes no time, so that many arrive at the database at once."""

    async def hash(self, password: str) -> str:
        return hmac.new(b"quick", password.encode(), "sha256").hexdigest()

    async def verify(self, password: str, password_hash: str | None) -> bool:
        return await self.hash(password) == password_hash

    def close(self) -> None:
        """There is nothing to close."""


@dataclass
class AuthApp:
    """A running application and the parts a test looks into."""

    auth: Auth
    tokens: TokenServices
    central: Central
    url: str
    http: httpx.AsyncClient
    created: list[None]

    async def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        async with self.central.read() as db:
            return [tuple(row) for row in (await db.exec_driver_sql(sql, values)).all()]

    async def write(self, sql: str, *values: Any) -> None:
        """Change the database behind the service's back."""
        async with self.central.write() as db:
            await db.exec_driver_sql(sql, values)

    async def sign_up(self, email: str = "ada@example.com", **more: Any) -> httpx.Response:
        body = {"name": "Ada", "email": email, "password": "correct-horse-1", **more}
        return await self.post("/api/auth/sign-up/email", body)

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.http.post(path, json={} if body is None else body, headers=headers)

    async def get_session(self, token: str) -> Any:
        reply = await self.http.get("/api/auth/get-session", headers={"authorization": f"Bearer {token}"})
        assert reply.status_code == 200
        return reply.json()


@get("/me")
async def me(signed_in: NamedDependency[SignedIn]) -> dict[str, str]:
    return {"user_id": signed_in.user_id}


@post("/me")
async def change_me(signed_in: NamedDependency[SignedIn]) -> dict[str, str]:
    return {"user_id": signed_in.user_id}


@get("/admin", guards=[require_admin])
async def admin() -> dict[str, str]:
    return {"hello": "admin"}


@asynccontextmanager
async def auth_parts(
    path: CentralPlace | Path, public_url: str = "http://127.0.0.1", hasher: PasswordHasher | None = None
) -> AsyncIterator[tuple[Auth, Central, list[None]]]:
    """As `auth_and_tokens`, without these."""
    async with auth_and_tokens(path, public_url, hasher) as (auth, _tokens, central, created):
        yield auth, central, created


@asynccontextmanager
async def auth_and_tokens(
    path: CentralPlace | Path, public_url: str = "http://127.0.0.1", hasher: PasswordHasher | None = None
) -> AsyncIterator[tuple[Auth, TokenServices, Central, list[None]]]:
    """A service on a database of its own, or on one that others use too. A path is a file's."""
    place = path if isinstance(path, CentralPlace) else CentralPlace(path=path)
    scrypt = ScryptHasher()
    created: list[None] = []
    async with place.opened() as (central, changes):
        store = CentralUsers(central, "local")
        auth = Auth(
            store=store,
            hasher=hasher or scrypt,
            sessions=Sessions(store, changes),
            cookies=SessionCookies(SECRET, public_url),
            origins=TrustedOrigins(public_url, [TRUSTED]),
            lockout=Lockout(CentralWrongPasswords(central), SECRET),
            places=KnownPlaces(CentralWrongPasswords(central), SECRET),
            on_user_created=lambda: created.append(None),
            audit=CentralAudit(central),
        )
        try:
            yield auth, open_tokens(central, changes, auth.sessions, SECRET, public_url), central, created
        finally:
            scrypt.close()


@asynccontextmanager
async def running_auth(
    folder: Path,
    public_url: str = "",
    hasher: PasswordHasher | None = None,
    place: CentralPlace | None = None,
    **settings: Any,
) -> AsyncIterator[AuthApp]:
    """Serve it on a free loopback port. `public_url` defaults to the address it is served on.

    The central database is a file in the folder where no other place is given.
    """
    place = place or CentralPlace(path=folder / "central.db")
    listener, url = listen()
    public_url = public_url or url
    async with auth_and_tokens(place, public_url, hasher) as (parts, tokens, central, created):
        checked = Settings(better_auth_url=public_url, **settings)
        addresses = email_addresses(central, Outbox(folder / "outbox.jsonl", "Freehold"), SECRET, checked)
        must_verify = checked.email_verification == "required"
        auth = replace(parts, verification=addresses if must_verify else None)
        edge = AuthContext(auth, ClientAddresses(checked.trusted_proxies))
        users = CentralUsers(central, "local")
        accounts = open_accounts(auth, addresses)
        resets = open_password_resets(auth, addresses)
        code_sign_in = CodeSignIn(auth, addresses.store, addresses.codes)
        endpoints = [
            SignInEndpoints(edge, tokens.jwts, tokens.api_keys, Guests(auth)),
            TokenEndpoints(edge, tokens.jwts, tokens.signing_keys, tokens.pairs),
            ApiKeyEndpoints(edge, tokens.api_keys),
            CodeEndpoints(edge, addresses.codes, code_sign_in, resets, addresses),
            PasswordEndpoints(edge, accounts, resets, checked.public_url),
            EmailEndpoints(edge, addresses),
            AccountEndpoints(edge, accounts, confirms_by_mail=checked.confirm_deletion == "mail"),
            AdminEndpoints(edge, UserAdmin(auth, CentralUserAdmin(central, users), addresses.notices)),
        ]
        app = Litestar(
            [auth_routes(edge, endpoints), form_routes(edge), me, change_me, admin],
            dependencies={
                "auth": Provide(lambda: auth, sync_to_thread=False),
                "pairs": Provide(lambda: tokens.pairs, sync_to_thread=False),
                "signed_in": Provide(provide_signed_in),
            },
            exception_handlers=EXCEPTION_HANDLERS,
            request_max_body_size=2 * 1024 * 1024,
            logging_config=None,
        )
        async with (
            serving(app, listener),
            httpx.AsyncClient(base_url=url, headers=_NO_AGENT, cookies=_NoJar(), timeout=_PATIENCE_S) as http,
        ):
            yield AuthApp(auth, tokens, central, url, http, created)


@asynccontextmanager
async def running_service(folder: Path, hasher: PasswordHasher | None = None, **more: Any) -> AsyncIterator[AuthApp]:
    """The whole service instead, as `serve` runs it; `more` are settings.

    Databases are opened by this process, as no test here is about engines, which take a third of a second to start.
    """
    begin_file(folder / "central.db")
    listener, url = listen()
    with listener:
        port = listener.getsockname()[1]
        settings = Settings(
            port=port,
            data_dir=folder,
            better_auth_secret=Secret(SECRET),
            rate_limits="off",
            **{"trusted_origins": (TRUSTED,), "engines": 0, **more},
        )
        async with (
            _hashing_with(hasher),
            open_services(settings) as services,
            serving(create_asgi(services), listener),
            httpx.AsyncClient(base_url=url, headers=_NO_AGENT, cookies=_NoJar(), timeout=_PATIENCE_S) as http,
        ):
            yield AuthApp(services.auth, services, services.central, url, http, [])


@asynccontextmanager
async def _hashing_with(hasher: PasswordHasher | None) -> AsyncIterator[None]:
    """Services that are opened meanwhile have this hasher, if there is one, instead of their own."""
    with pytest.MonkeyPatch.context() as patch:
        if hasher is not None:
            patch.setattr("freehold.wiring.auth.ScryptHasher", lambda _threads: hasher)
        yield


class _NoJar(CookieJar):
    """Keeps nothing: tests say themselves which cookies they send."""

    def extract_cookies(self, *_: Any) -> None:
        return
