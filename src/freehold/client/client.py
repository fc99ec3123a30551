"""`FreeholdClient`: all that an app asks of a Freehold service."""

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
from freehold.client.keys import KeyStore, Learnt, MemoryKeyStore, first_key, followed_key, learn
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
# Of a page of the registry: a migration has 1 MiB at most, and few have a hundredth of that.
_MOST_PAGE_BYTES = 64 * 1_048_576
_BEYOND_ALL = 9_999  # the last version that there can be: nothing comes after it, and the release is still told


class FreeholdClient:
    """One app's connection to a service, signed in as at most one user.

    Example:
        async with FreeholdClient("https://data.example.com", key_store=FileKeyStore(path)) as freehold:
            await freehold.sign_in("amal@example.com", "correct horse battery")
            credentials = await freehold.credentials()
            await freehold.migrate()

    `trusted_keys` maps key ids to public keys, as `GET /migrations/keys` gives them. Without it, the key that
    signs the registry when the client first sees it is pinned in `key_store`, and no other is taken later.
    A key that a trusted one endorses is taken too, so that the operator can replace it. Keep the `key_store`: it
    also remembers how far the registry had got, by which an old one is refused.

    `app_version`, like 2.1.0, is the app's own: the service then offers no schema that this app cannot work with.
    It and `device`, a random id of this installation, are the census by which the operator sees what is in use; it
    counts by user, so that they are sent with the session where there is one.
    `understands` are the parts of a release (see `part`) that the app itself can use: one that must be understood,
    and is not among them, is refused with `release_not_understood`.
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
        self, access_level: AccessLevel | Profile = "full", *, timeout_s: float = 60.0
    ) -> DatabaseCredentials:
        """Where the user's database is and a short-lived token for it; waits while it is being made.

        The token allows no more than was asked for, and no more than the service hands out; `profile` of the answer
        says what that is.

        Raises:
            Unauthenticated: not signed in, or the session is over.
            DatabaseSuspended: its operator has closed it for now, for `error.reason`; to ask again helps nothing.
            DatabaseDeleted, DatabaseDeleting: it is gone, and only its operator can give the user another one.
            Unavailable: not ready within `timeout_s`, too many calls, or no answer: try again, after
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
        """The migrations after a version, proved genuine. `chain` is the ledger's at that version, empty for 0.

        Raises:
            RegistryTampered: something does not fit, it expired, or is an old one; nothing may be applied.
            AppTooOld: the database needs a newer app than this one, or the release does: `release_not_understood`.
            Unavailable: no answer.
        """
        require_start(after, chain)
        reply = await self._calls.send(
            "GET",
            "/migrations",
            params={"after": after},
            headers=self._about_us,
            token=self._reporter(),
            most_bytes=_MOST_PAGE_BYTES,
        )
        page = self._calls.read(reply, MigrationPage)
        public_key, learnt = await self._trust(page)
        known = await self._known(after, chain)
        registry = verified(page, known, public_key)
        await self._take(page, registry.parts, known, learnt)
        return registry

    async def part(self, name: str) -> bytes:
        """The bytes of a further part of the newest release, such as `app.toml`, proved to be the release's.

        Raises:
            NotFound: the release has no such part.
            RegistryTampered: something does not fit, it expired, or is an old one.
            Unavailable: no answer.
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
        """Bring a database to the newest version, or to `to`; the user's own database when no target is given.

        Safe to repeat, and while others do the same. Only migrations that `pull` proved genuine are applied.

        Raises:
            RegistryTampered: the registry does not follow from what the database was made with.
            MigrationFailed: the database refused one; it is at the version before.
            DatabaseSuspended, DatabaseDeleted, DatabaseDeleting: as `credentials` says.
            Unavailable: no answer; some may have been applied.
        """
        if target is None:
            credentials = await self.credentials()
            async with aiohttp.ClientSession() as session:
                own = HranaTarget(session, http_url(credentials.url), credentials.access_token)
                try:
                    return await self._migrate(own, to)
                except (Forbidden, NotFound, Unauthenticated):
                    await self.credentials()  # which knows better why the database lets nobody in any more
                    raise
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

    def _reporter(self) -> str | None:
        """The session that a report counts for; without one to make, nobody need know who pulls."""
        return self.session_token if self._about_us else None

    async def _known(self, after: int = 0, chain: str = GENESIS) -> Known:
        return Known(
            after=after,
            chain=chain,
            counter=await self._key_store.counter(self._calls.service),
            now_s=self._now(),
            understands=self._understands,
        )

    async def _take(self, page: MigrationPage, parts: Sequence[Part], known: Known, learnt: Learnt) -> None:
        """Remember a page that was proved genuine, and refuse one that cannot be used.

        An unsigned one proves nothing, so nothing is remembered of it. One that cannot be used counts as seen, too:
        else an earlier one could be played instead. But a key that is new here may not set the counter before all
        else is right.
        """
        service = self._calls.service
        if is_unsigned(page):
            return
        if not learnt.pinned:
            await self._key_store.remember(service, page.counter)
        require_usable(page, parts, known)
        await learn(self._key_store, service, learnt)
        await self._key_store.remember(service, page.counter)

    async def _trust(self, page: MigrationPage) -> tuple[str | None, Learnt]:
        """The key that the page names, if it may be trusted, and what has to be remembered once all fits.

        Raises:
            RegistryTampered: neither is it trusted, nor does a trusted key speak for it.
        """
        if is_unsigned(page):
            return None, Learnt()
        given = self._trusted_keys
        trusted = given if given is not None else await self._key_store.load(self._calls.service)
        if given is not None and page.key_id not in given:
            # Keys that were learnt from those given; what they had retired is not in the store any more.
            trusted = {**await self._key_store.load(self._calls.service), **given}
        if page.key_id in trusted:
            return trusted[page.key_id], Learnt()
        reply = await self._calls.send("GET", "/migrations/keys")
        announced = self._calls.read(reply, list[PublicKey])
        if not trusted and given is None:
            return first_key(page.key_id, announced)
        # Each key may cost some signatures, and whoever is on the way says how many there are.
        return await asyncio.to_thread(followed_key, page.key_id, announced, trusted)


class _Session(msgspec.Struct):
    user: SignedIn
    token: str | None = None
