"""The `turso` provider: one database per tenant on Turso, created through its Platform API."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from freehold.errors import Conflict, Forbidden, NotFound, ProviderUnavailable, Unauthenticated, Unavailable
from freehold.libsql.http import HranaTarget
from freehold.libsql.protocol import Batch, BatchResult, BatchStep, Stmt
from freehold.migrate.copying import Copied
from freehold.migrate.target import Target
from freehold.profiles import Profile, narrowed
from freehold.providers.forks import export_fork
from freehold.providers.names import check_name, missing, taken
from freehold.providers.tokens import TokenSigner
from freehold.providers.turso.api import Answer, DatabaseAnswer, PlatformApi, RemoteDatabase, TokenAnswer, decoded
from freehold.providers.turso.databases import POLLS, RemoteDatabases
from freehold.providers.turso.tokens import TokenCache, expiration
from freehold.tenants.errors import NoPointInTime
from freehold.tenants.types import AccessLevel, Database, DatabaseToken, level_of

_AUTHORIZATION: dict[AccessLevel, str] = {"full": "full-access", "read_only": "read-only"}
_MIGRATION_S = 120.0
_PROBE_S = 5.0
_CHECK_HOLDS_S = 15.0
_JUST_S = 10.0


class TursoProvider:
    """Implements `DatabaseProvider`. Clients talk to Turso themselves, so there is nothing here for a gateway.

    Create it and use it on one event loop; `aclose` ends it. `ready_limit_s` is how long a new database may take
    until it answers, `most` the widest profile that is issued, as far as Turso's tokens distinguish profiles.
    """

    name = "turso"
    files = None  # there is nothing beside the data to set aside
    server = None
    verifier = None
    replicas = None

    def __init__(
        self,
        api_url: str,
        api_token: str,
        organization: str,
        group: str,
        *,
        token_ttl_s: int = 900,
        max_size_mb: int = 512,
        ready_limit_s: float = 30.0,
        give_up_s: float = 30.0,
        most: Profile = "rows",
    ) -> None:
        self._most = most
        self._group = group
        self._size_limit = f"{max_size_mb}mb"
        self._token_ttl_s = token_ttl_s
        self._ready_limit_s = ready_limit_s
        self._api = PlatformApi(api_url, api_token, give_up_s=give_up_s)
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._desk = TokenCache(self._mint, lifetime_s=token_ttl_s)
        self._databases = RemoteDatabases(
            self._api,
            organization,
            group,
            # Only the twin, on this machine, works without TLS, and so do its databases.
            scheme="http" if api_url.startswith("http:") else "https",
            forget_tokens=self._desk.forget,
        )
        self._checked_at = float("-inf")

    async def create(self, database_name: str) -> Database:
        """Create the database, or return it if it exists in our group; it answers when this returns."""
        check_name(database_name)
        body = {"name": database_name, "group": self._group, "size_limit": self._size_limit}
        answer = await self._api.call("POST", self._databases.path, body=body)
        if answer.is_done:
            made = decoded(answer.body, DatabaseAnswer).database
        elif answer.says_exists:
            made = await self._existing(database_name)
        else:
            raise self._cannot_create(answer)
        return await self._when_ready(made)

    async def find(self, database_name: str) -> Database | None:
        """The database, or None if it does not exist."""
        check_name(database_name)
        found = await self._databases.show(database_name)
        return None if found is None else self._databases.database_of(found)

    async def locate(self, database_name: str) -> Database | None:
        """Like `find`, from memory if seen within a token's lifetime, so that not every user request costs a call."""
        return self._databases.seen_within(database_name, self._token_ttl_s) or await self.find(database_name)

    async def delete(self, database_name: str) -> None:
        """Delete the database with all its data, and make sure that it is gone."""
        check_name(database_name)
        self._databases.forget(database_name)
        answer = await self._api.call("DELETE", f"{self._databases.path}/{database_name}")
        if not answer.is_done and not answer.is_missing:
            raise ProviderUnavailable(f"Turso did not delete `{database_name}`: {answer.error}")
        if await self._databases.show(database_name) is not None:
            raise ProviderUnavailable(f"Turso still has `{database_name}` after deleting it")
        self._databases.forget(database_name)

    async def create_empty(self, database_name: str) -> None:
        """Create the database, which is empty."""
        await self.create(database_name)

    async def suspend(self, database_name: str, reason: str = "") -> None:  # noqa: ARG002 - Turso keeps none
        """Have Turso refuse every statement until `resume`. The data stay; clients see no reason."""
        await self._block(database_name, is_blocked=True)

    async def resume(self, database_name: str) -> None:
        """End `suspend`."""
        await self._block(database_name, is_blocked=False)

    async def fork(self, source_name: str, target_name: str) -> Database:
        """Branch a database as it is now to a new one, which is not suspended."""
        return await self._branch(source_name, target_name)

    async def fork_at(self, source_name: str, target_name: str, at: datetime) -> Database:
        """Branch a database as it was at `at`, or up to some 15 s before. How far back depends on the Turso plan.

        Source: https://docs.turso.tech/features/point-in-time-recovery
        """
        # Its documentation shows whole seconds only. They are cut off: nothing after that time may be included.
        timestamp = at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
        return await self._branch(source_name, target_name, timestamp)

    async def _branch(self, source_name: str, target_name: str, timestamp: str = "") -> Database:
        check_name(target_name)
        source = await self._databases.show(check_name(source_name))
        if source is None:
            raise missing(source_name)
        if await self._databases.show(target_name) is not None:
            raise taken(target_name)
        seed = {"type": "database", "name": source_name}
        if timestamp:
            seed["timestamp"] = timestamp
        body = {"name": target_name, "group": self._group, "size_limit": self._size_limit, "seed": seed}
        answer = await self._api.call("POST", self._databases.path, body=body)
        if answer.is_missing:
            raise missing(source_name)
        if answer.is_done:
            made = decoded(answer.body, DatabaseAnswer).database
        elif answer.says_exists:
            made = await self._existing(target_name)
            if made.parent is None or made.parent.id != source.db_id:  # not left by an earlier try of ours
                raise taken(target_name)
        elif timestamp and answer.status in {400, 422} and "group" not in answer.error:
            raise NoPointInTime(f"Turso does not give `{source_name}` as of {timestamp}: {answer.error}")
        else:
            raise self._cannot_create(answer)
        return await self._when_ready(made)

    async def export(self, database_name: str, path: Path, scratch_name: str) -> Copied:
        """Write the database as of one point in time into a SQLite file, by way of a branch."""
        return await export_fork(self, check_name(database_name), path, scratch_name)

    def names(self) -> AsyncIterator[Sequence[str]]:
        """The names of all databases in our group, one page at a time."""
        return self._databases.names()

    async def open(self, database_name: str) -> Target:
        """The database as a target for migrations."""
        # Usually it has just been created. If it is gone, using it will fail.
        database = self._databases.seen_within(database_name, _JUST_S) or await self.find(database_name)
        if database is None:
            raise missing(database_name)
        return self._target(database)

    async def open_as_client(self, database_name: str, profile: Profile) -> Target:
        """The database opened with a token of this profile and the time limit of a client's call."""
        database = await self.find(database_name)
        if database is None:
            raise missing(database_name)
        level = level_of(profile)

        async def token() -> str:
            return (await self._desk.get(database_name, level)).text

        return HranaTarget(self._session, database.url, token)

    async def mint_token(self, database_name: str, asked: Profile, subject: str, generation: int = 0) -> DatabaseToken:
        """A token that opens this database only; the same one for all sessions until shortly before its end.

        Turso's tokens name no subject, and distinguish reading and everything only: a token for rows has `full` there.
        """
        check_name(database_name)
        profile = narrowed(asked, self._most)
        if profile == "none":  # Turso has no such profile, so the client gets a token that Turso never signed
            signer = TokenSigner(Ed25519PrivateKey.generate())
            return signer.mint(database_name, profile, subject, self._token_ttl_s, generation)
        return await self._desk.get(database_name, level_of(profile), generation)

    async def invalidate_tokens(self, database_name: str) -> None:
        """Replace the key of the database: every token of it stops working."""
        check_name(database_name)
        answer = await self._api.call("POST", f"{self._databases.path}/{database_name}/auth/rotate")
        self._desk.forget(database_name)
        if answer.is_missing:
            raise missing(database_name)
        if not answer.is_done:
            raise ProviderUnavailable(f"Turso did not rotate `{database_name}`: {answer.error}")

    async def check(self) -> None:
        """Return if the API accepts our token and has our group. Cached for some seconds, or until a call fails."""
        if self._api.failed_at < self._checked_at > time.monotonic() - _CHECK_HOLDS_S:
            return
        await self._databases.require_group()
        self._checked_at = time.monotonic()

    def damaged(self) -> Mapping[str, str]:
        """Nothing: this provider does not detect damaged databases."""
        return {}

    async def aclose(self) -> None:
        """Close all connections."""
        await self._api.aclose()
        await self._session.close()

    async def _block(self, database_name: str, *, is_blocked: bool) -> None:
        check_name(database_name)
        path = f"{self._databases.path}/{database_name}/configuration"
        body = {"block_reads": is_blocked, "block_writes": is_blocked}
        answer = await self._api.call("PATCH", path, body=body)
        if answer.is_missing:
            raise missing(database_name)
        if not answer.is_done:
            raise ProviderUnavailable(f"Turso did not configure `{database_name}`: {answer.error}")
        await self._databases.show(database_name)  # for `locate`

    async def _existing(self, database_name: str) -> RemoteDatabase:
        """A database that an earlier try has left. Names are unguessable, so it is nobody else's."""
        found = await self._databases.eventually(database_name, self._ready_limit_s)
        if found is None:
            raise ProviderUnavailable(f"Turso says that `{database_name}` exists, but does not show it")
        if found.group != self._group:
            raise Conflict(
                f"`{database_name}` exists in Turso's group `{found.group}`, not in TURSO_GROUP; set that back"
            )
        return found

    async def _when_ready(self, made: RemoteDatabase) -> Database:
        """The database once it answers a query; a new one may deny that it exists for some seconds."""
        database = self._databases.database_of(made)
        target = self._target(database, timeout_s=_PROBE_S)
        probe = [Batch(steps=(BatchStep(stmt=Stmt(sql="SELECT 1")),))]
        until = time.monotonic() + self._ready_limit_s
        tries = 0
        while True:
            tries += 1
            delay_s = POLLS.delay_s(tries)
            try:
                self._databases.remember(made)
                await target.run(probe)
                return database
            except (NotFound, Unauthenticated, Forbidden, Unavailable) as error:
                if time.monotonic() + delay_s > until:
                    raise ProviderUnavailable(f"`{made.name}` on Turso does not answer yet: {error}") from error
            await asyncio.sleep(delay_s)

    async def _mint(self, database_name: str, level: AccessLevel) -> tuple[str, str]:
        found = self._databases.seen(database_name) or await self._databases.show(database_name)
        if found is None:
            raise missing(database_name)
        answer = await self._api.call(
            "POST",
            f"{self._databases.path}/{database_name}/auth/tokens",
            params={"expiration": expiration(self._token_ttl_s), "authorization": _AUTHORIZATION[level]},
        )
        if answer.is_missing:
            raise missing(database_name)
        if not answer.is_done:
            raise ProviderUnavailable(f"Turso minted no token for `{database_name}`: {answer.error}")
        return decoded(answer.body, TokenAnswer).jwt, found.db_id

    def _cannot_create(self, answer: Answer) -> ProviderUnavailable:
        if "group" in answer.error:
            return ProviderUnavailable(f"Turso has no group `{self._group}`; set TURSO_GROUP ({answer.error})")
        return ProviderUnavailable(f"Turso does not make databases: {answer.error}")

    def _target(self, database: Database, *, timeout_s: float = _MIGRATION_S) -> "TursoTarget":
        async def token() -> str:
            return (await self._desk.get(database.name, "full")).text

        target = HranaTarget(self._session, database.url, token, timeout_s=timeout_s)
        return TursoTarget(target, self._desk, database.name)


class TursoTarget(Struct, frozen=True):
    """Implements `migrate.target.Target`, with a new token if a rotation has revoked the one in memory."""

    target: HranaTarget
    desk: TokenCache
    database_name: str

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches in order; a transaction that is open at the end is rolled back."""
        try:
            return await self.target.run(batches)
        except Unauthenticated:  # so nothing ran
            self.desk.forget(self.database_name)
            return await self.target.run(batches)
