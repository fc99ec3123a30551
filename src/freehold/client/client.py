"""`FreeholdClient`: all that an app asks of a Freehold service."""

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import aiohttp
import httpx
import msgspec

from freehold.client.calls import Calls, retry_after_s, service_url
from freehold.client.keys import KeyStore, MemoryKeyStore
from freehold.client.verify import VerifiedRegistry, require_start, verified
from freehold.errors import Unauthenticated, Unavailable
from freehold.libsql.http import HranaTarget
from freehold.libsql.urls import http_url
from freehold.migrate.apply import Applied, apply
from freehold.migrate.ledger import read_ledger
from freehold.migrate.signature import RegistryTampered, from_text, key_id_of
from freehold.migrate.target import Target
from freehold.migrate.types import GENESIS
from freehold.wire import AccessLevel, DatabaseCredentials, MigrationPage, PublicKey, SignedIn

_TIMEOUT_S = 10.0
_POLL_S = 0.5


class FreeholdClient:
    """One app's connection to a service, signed in as at most one user.

    Example:
        async with FreeholdClient("https://data.example.com", key_store=FileKeyStore(path)) as freehold:
            await freehold.sign_in("amal@example.com", "correct horse battery")
            credentials = await freehold.credentials()
            await freehold.migrate()

    `trusted_keys` maps key ids to public keys, as `GET /migrations/keys` gives them. Without it, the key that
    signs the registry when the client first sees it is pinned in `key_store`, and no other is taken later.
    `session_token` takes up a session from before; `http` is for settings of one's own and is not closed.
    """

    def __init__(
        self,
        base_url: str,
        http: httpx.AsyncClient | None = None,
        trusted_keys: Mapping[str, str] | None = None,
        *,
        key_store: KeyStore | None = None,
        session_token: str | None = None,
    ) -> None:
        self.session_token = session_token
        self._own_http = http is None
        self._http = http or httpx.AsyncClient(timeout=_TIMEOUT_S)
        self._calls = Calls(self._http, service_url(base_url))
        self._trusted_keys = trusted_keys
        self._key_store = key_store or MemoryKeyStore()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._own_http:
            await self._http.aclose()

    # Session -------------------------------------------------------------------------------------

    async def sign_up(self, email: str, password: str, name: str = "") -> SignedIn:
        """Make an account and sign in; the user's database is made meanwhile.

        Raises:
            InvalidInput: the e-mail is taken or not one, or the password is too short; see `error.code`.
        """
        return await self._enter("/sign-up/email", {"email": email, "password": password, "name": name})

    async def sign_in(self, email: str, password: str) -> SignedIn:
        """Start a session. Raises `Unauthenticated` for a wrong e-mail or password."""
        return await self._enter("/sign-in/email", {"email": email, "password": password})

    async def sign_out(self) -> None:
        """End the session, here and at the service; nothing happens when there is none.

        Raises:
            Unavailable: no answer; it is over here only.
        """
        token, self.session_token = self.session_token, None
        if token is not None:
            await self._calls.send("POST", "/api/auth/sign-out", token=token, body={})

    async def credentials(
        self, access_level: AccessLevel = "full", *, timeout_s: float = 60.0
    ) -> DatabaseCredentials:
        """Where the user's database is and a short-lived token for it; waits while it is being made.

        Raises:
            Unauthenticated: not signed in, or the session is over.
            Unavailable: not ready within `timeout_s`, or no answer.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            reply = await self._calls.send(
                "GET", "/databases/user", token=self._token(), params={"access_level": access_level}
            )
            if reply.status_code != httpx.codes.ACCEPTED:
                return self._calls.read(reply, DatabaseCredentials)
            pause_s = retry_after_s(reply, otherwise=_POLL_S)
            if time.monotonic() + pause_s > deadline:
                raise Unavailable(f"the database was not ready within {timeout_s:g} s; try again later")
            await asyncio.sleep(pause_s)

    # Schema --------------------------------------------------------------------------------------

    async def pull(self, after: int = 0, *, chain: str = GENESIS) -> VerifiedRegistry:
        """The migrations after a version, proved genuine. `chain` is the ledger's at that version, empty for 0.

        Raises:
            RegistryTampered: something does not fit; nothing of it may be applied.
            Unavailable: no answer.
        """
        require_start(after, chain)
        reply = await self._calls.send("GET", "/migrations", params={"after": after})
        page = self._calls.read(reply, MigrationPage)
        trusted = await self._trusted()
        public_key = trusted.get(page.key_id)
        first_use = self._trusted_keys is None and not trusted and page.version > 0
        if first_use:
            public_key = await self._announced_key(page.key_id)
        elif public_key is None and page.version > 0:
            raise RegistryTampered(
                f"the registry is signed with key {page.key_id!r}, which is not trusted; "
                "if its operator replaced the key, add the new one to the trusted keys"
            )
        registry = verified(page, after, chain, public_key)
        if first_use and public_key is not None:
            await self._key_store.pin(self._calls.service, page.key_id, public_key)
        return registry

    async def migrate(self, target: Target | None = None, to: int | None = None) -> Applied:
        """Bring a database to the newest version, or to `to`; the user's own database when no target is given.

        Safe to repeat, and while others do the same. Only migrations that `pull` proved genuine are applied.

        Raises:
            RegistryTampered: the registry does not follow from what the database was made with.
            MigrationFailed: the database refused one; it is at the version before.
            Unavailable: no answer; some may have been applied.
        """
        if target is None:
            credentials = await self.credentials()
            async with aiohttp.ClientSession() as session:
                own = HranaTarget(session, http_url(credentials.url), credentials.access_token)
                return await self._migrate(own, to)
        return await self._migrate(target, to)

    async def _migrate(self, target: Target, to: int | None) -> Applied:
        ledger = await read_ledger(target)
        news = await self.pull(ledger.version, chain=ledger.chain)
        if not news.migrations and to is None:
            return Applied(ledger.version, ())
        # The core proves the ledger against all of the history, so it is given all of it.
        registry = news if ledger.version == 0 else await self.pull()
        return await apply(target, registry.migrations, to=to, recorded=ledger.version)

    # ---------------------------------------------------------------------------------------------

    async def _enter(self, path: str, body: Mapping[str, str]) -> SignedIn:
        reply = await self._calls.send("POST", f"/api/auth{path}", body=body)
        session = self._calls.read(reply, _Session)
        if session.token is None:
            raise Unauthenticated("the account is there, but it must be confirmed before signing in")
        self.session_token = session.token
        return session.user

    def _token(self) -> str:
        if self.session_token is None:
            raise Unauthenticated("sign in first")
        return self.session_token

    async def _trusted(self) -> Mapping[str, str]:
        if self._trusted_keys is not None:
            return self._trusted_keys
        return await self._key_store.load(self._calls.service)

    async def _announced_key(self, key_id: str) -> str:
        """The public key of this name, as the service itself announces it."""
        reply = await self._calls.send("GET", "/migrations/keys")
        for key in self._calls.read(reply, list[PublicKey]):
            if key.key_id == key_id:
                return _require_named(key_id, key.public_key)
        raise RegistryTampered(
            f"the registry is signed with key {key_id!r}, which the service does not announce"
        )


class _Session(msgspec.Struct):
    user: SignedIn
    token: str | None = None


def _require_named(key_id: str, public_key: str) -> str:
    try:
        is_named_so = key_id_of(from_text(public_key)) == key_id
    except ValueError:
        is_named_so = False
    if not is_named_so:
        raise RegistryTampered(f"the key that the service announces as {key_id!r} does not fit its name")
    return public_key
