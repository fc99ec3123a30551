"""`FreeholdClient`: everything that an app needs from a Freehold service."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

import aiohttp
import httpx
import msgspec

from freehold.client.calls import Calls, pause_s, service_url
from freehold.client.keys import KeyStore, Learnt, MemoryKeyStore, first_key, followed_key
from freehold.client.verify import (
    Known,
    VerifiedRegistry,
    is_unsigned,
    parts_of,
    require_start,
    require_usable,
    verified,
)
from freehold.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from freehold.libsql.http import HranaTarget
from freehold.libsql.urls import http_url
from freehold.migrate.apply import Applied, apply
from freehold.migrate.ledger import read_ledger
from freehold.migrate.release_text import Part
from freehold.migrate.signature import RegistryTampered
from freehold.migrate.target import Target
from freehold.migrate.types import GENESIS
from freehold.profiles import Profile
from freehold.wire import AccessLevel, DatabaseCredentials, MigrationPage, PublicKey, SignedIn

_TIMEOUT_S = 10.0
_POLL_S = 0.5
# For a page of the registry: a migration has 1 MiB at most, and few have a hundredth of that.
_MOST_PAGE_BYTES = 64 * 1_048_576
_BEYOND_ALL = 9_999  # the last possible version: nothing follows it, but the response still has the release


class FreeholdClient:
    """One app's connection to a service, signed in as at most one user.

    Example:
        async with FreeholdClient("https://data.example.com", key_store=FileKeyStore(path)) as freehold:
            await freehold.sign_in("amal@example.com", "correct horse battery")
            credentials = await freehold.credentials()
            await freehold.migrate()

    `trusted_keys` maps key ids to public keys, as returned by `GET /migrations/keys`. Without it, the first key that
    the client sees signing the registry is pinned in `key_store`, and no other is accepted later. A key that a trusted
    one endorses is accepted too, so that the operator can replace it. Keep the `key_store`: it also remembers the
    newest registry seen, so that an older one is refused.

    `app_version`, like 2.1.0, is the app's own: the service then offers no schema that this app cannot work with. It
    and `device`, a random id of this installation, tell the operator which versions are in use. They are sent with the
    session if there is one, because the census counts by user. `understands` lists the parts of a release (see `part`)
    that the app itself can use: a release with another part that must be understood is refused with
    `release_not_understood`. `session_token` resumes an earlier session; `http` is for custom settings and is not
    closed.
    """

    def __init__(
        self,
        base_url: str,
        http: httpx.AsyncClient | None = None,
        trusted_keys: Mapping[str, str] | None = None,
        *,
        key_store: KeyStore | None = None,
        session_token: str | None = None,
        app_version: str | None = None,
        device: str | None = None,
        understands: Iterable[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.session_token = session_token
        self._own_http = http is None
        self._http = http or httpx.AsyncClient(timeout=_TIMEOUT_S)
        self._calls = Calls(self._http, service_url(base_url))
        self._trusted_keys = trusted_keys
        self._key_store = key_store or MemoryKeyStore()
        self._understands = frozenset(understands)
        self._now = now
        said = {"Freehold-App-Version": app_version, "Freehold-Device": device}
        self._about_us = {name: value for name, value in said.items() if value is not None}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._own_http:
            await self._http.aclose()

    # Session -------------------------------------------------------------------------------------

    async def sign_up(self, email: str, password: str, name: str = "") -> SignedIn:
        """Create an account and sign in; the user's database is created in the background.

        Raises:
            InvalidInput: the e-mail address is taken or invalid, or the password is too short; see `error.code`.
        """
        return await self._enter("/sign-up/email", {"email": email, "password": password, "name": name})

    async def sign_in(self, email: str, password: str) -> SignedIn:
        """Start a session. Raises `Unauthenticated` for a wrong e-mail address or password."""
        return await self._enter("/sign-in/email", {"email": email, "password": password})

    async def sign_out(self) -> None:
        """End the session, if there is one, here and at the service. After `Unavailable` it has ended here only."""
        token, self.session_token = self.session_token, None
        if token is not None:
            await self._calls.send("POST", "/api/auth/sign-out", token=token, body={})

    async def credentials(
        self, access_level: AccessLevel | Profile = "full", *, timeout_s: float = 60.0
    ) -> DatabaseCredentials:
        """Return the location of the user's database and a short-lived token for it; waits while it is being created.

        The token allows no more than was asked for and no more than the service issues; `profile` of the result says
        what it allows.

        Raises:
            Unauthenticated: not signed in, or the session has ended.
            DatabaseSuspended: the operator has suspended it, for `error.reason`; retrying does not help.
            DatabaseDeleted, DatabaseDeleting: it is gone, and only the operator can give the user another one.
            Unavailable: not ready within `timeout_s`, too many calls, or no response: try again, after
                `error.retry_after` seconds unless that is None.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            reply = await self._calls.send(
                "GET", "/databases/user", token=self._token(), params={"access_level": access_level}
            )
            if reply.status_code != httpx.codes.ACCEPTED:
                return self._calls.read(reply, DatabaseCredentials)
            wait_s = pause_s(reply, otherwise=_POLL_S)
            if time.monotonic() + wait_s > deadline:
                late = Unavailable(f"the database was not ready within {timeout_s:g} s; try again later")
                late.retry_after = wait_s
                raise late
            await asyncio.sleep(wait_s)

    # Schema --------------------------------------------------------------------------------------

    async def pull(self, after: int = 0, *, chain: str = GENESIS) -> VerifiedRegistry:
        """Return the verified migrations after a version. `chain` is the ledger's at that version, empty for 0.

        Raises:
            RegistryTampered: it is inconsistent, expired or old; nothing may be applied.
            AppTooOld: the database or the release (`release_not_understood`) needs a newer app.
            Unavailable: no response.
        """
        require_start(after, chain)
        reply = await self._calls.send(
            "GET",
            "/migrations",
            params={"after": after},
            headers=self._about_us,
            # A report counts for the session's user. Without one, the service need not know who pulls.
            token=self.session_token if self._about_us else None,
            most_bytes=_MOST_PAGE_BYTES,
        )
        page = self._calls.read(reply, MigrationPage)
        public_key, learnt = await self._trust(page)
        known = await self._known(after, chain)
        registry = verified(page, known, public_key)
        await self._take(page, registry.parts, known, learnt)
        return registry

    async def part(self, name: str) -> bytes:
        """Return the verified content of a further part of the newest release, such as `app.toml`.

        Raises:
            NotFound: the release has no such part.
            RegistryTampered: it is inconsistent, expired or old.
            Unavailable: no response.
        """
        reply = await self._calls.send("GET", "/migrations", params={"after": _BEYOND_ALL}, most_bytes=_MOST_PAGE_BYTES)
        page = self._calls.read(reply, MigrationPage)
        public_key, learnt = await self._trust(page)
        known = await self._known()
        parts = parts_of(page, known, public_key)
        await self._take(page, parts, known, learnt)
        hashes = {part.name: part.sha256 for part in parts}
        if name not in hashes:
            raise NotFound(f"the newest release has no part {name}")
        content = (await self._calls.send("GET", f"/migrations/parts/{hashes[name]}")).content
        if hashlib.sha256(content).hexdigest() != hashes[name]:
            raise RegistryTampered(f"the part {name} does not have the hash that the release names")
        return content

    async def migrate(self, target: Target | None = None, to: int | None = None) -> Applied:
        """Migrate a database to the newest version, or to `to`; by default the user's own database.

        Idempotent, and safe while others do the same. Applies only migrations verified by `pull`.

        Raises:
            RegistryTampered: the registry does not continue the database's history.
            MigrationFailed: the database refused one; it is at the version before.
            DatabaseSuspended, DatabaseDeleted, DatabaseDeleting: as in `credentials`.
            Unavailable: no response; some may have been applied.
        """
        if target is None:
            credentials = await self.credentials()
            async with aiohttp.ClientSession() as session:
                own = HranaTarget(session, http_url(credentials.url), credentials.access_token)
                try:
                    return await self._migrate(own, to)
                except (Forbidden, NotFound, Unauthenticated):
                    await self.credentials()  # raises the actual reason why the database refuses access
                    raise
        return await self._migrate(target, to)

    async def _migrate(self, target: Target, to: int | None) -> Applied:
        ledger = await read_ledger(target)
        news = await self.pull(ledger.version, chain=ledger.chain)
        if not news.migrations and to is None:
            return Applied(ledger.version, ())
        # The core verifies the ledger against the whole history, so it needs the whole history.
        registry = news if ledger.version == 0 else await self.pull()
        return await apply(target, registry.migrations, to=to, recorded=ledger.version)

    # ---------------------------------------------------------------------------------------------

    async def _enter(self, path: str, body: Mapping[str, str]) -> SignedIn:
        session = self._calls.read(await self._calls.send("POST", f"/api/auth{path}", body=body), _Session)
        if session.token is None:
            raise Unauthenticated("the account is there, but it must be confirmed before signing in")
        self.session_token = session.token
        return session.user

    def _token(self) -> str:
        if self.session_token is None:
            raise Unauthenticated("sign in first")
        return self.session_token

    async def _known(self, after: int = 0, chain: str = GENESIS) -> Known:
        return Known(
            after=after,
            chain=chain,
            counter=await self._key_store.counter(self._calls.service),
            now_s=self._now(),
            understands=self._understands,
        )

    async def _take(self, page: MigrationPage, parts: Sequence[Part], known: Known, learnt: Learnt) -> None:
        """Remember a verified page, and refuse one that cannot be used.

        Nothing is remembered of an unsigned page, which proves nothing. A page that cannot be used counts as seen too,
        since an earlier one could be replayed otherwise. But a newly learnt key must not set the counter until all else
        is right.
        """
        service = self._calls.service
        if is_unsigned(page):
            return
        if not learnt.pinned:
            await self._key_store.remember(service, page.counter)
        require_usable(page, parts, known)
        for key_id, public_key in learnt.pinned:
            await self._key_store.pin(service, key_id, public_key)
        for key_id in learnt.forgotten:
            await self._key_store.forget(service, key_id)
        await self._key_store.remember(service, page.counter)

    async def _trust(self, page: MigrationPage) -> tuple[str | None, Learnt]:
        """Return the key that the page names, and what to remember once everything is verified.

        Raises:
            RegistryTampered: the key is neither trusted nor endorsed by a trusted one.
        """
        if is_unsigned(page):
            return None, Learnt()
        given = self._trusted_keys
        trusted = given if given is not None else await self._key_store.load(self._calls.service)
        if given is not None and page.key_id not in given:
            # Keys learnt from those given; the store no longer has those that they retired.
            trusted = {**await self._key_store.load(self._calls.service), **given}
        if page.key_id in trusted:
            return trusted[page.key_id], Learnt()
        announced = self._calls.read(await self._calls.send("GET", "/migrations/keys"), list[PublicKey])
        if not trusted and given is None:
            return first_key(page.key_id, announced)
        # Each key may cost some signature checks, and an attacker decides how many there are.
        return await asyncio.to_thread(followed_key, page.key_id, announced, trusted)


class _Session(msgspec.Struct):
    user: SignedIn
    token: str | None = None
