"""The `local` provider: one file per tenant on this machine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from freehold.errors import ProviderUnavailable
from freehold.libsql.protocol import Batch, BatchResult
from freehold.migrate.copying import Copied
from freehold.migrate.snapshot import Snapshot
from freehold.migrate.target import Target
from freehold.profiles import Profile
from freehold.providers.forks import refuse_fork_at
from freehold.providers.local.engine import Engine
from freehold.providers.local.files import TenantFiles, copy_file
from freehold.providers.local.folders import databases_dir_of
from freehold.providers.local.template import Template, Templates
from freehold.providers.names import check_name, missing, taken
from freehold.providers.published import Published, RegistryBatches, nothing_published
from freehold.providers.serving import DatabaseServer, ReplicaServer
from freehold.providers.sqlite.limits import EngineLimits, Limits, limits_of
from freehold.providers.tokens import TokenSigner, TokenVerifier
from freehold.tenants.types import Database, DatabaseToken

_MIGRATION_S = 60.0


class LocalEngine(DatabaseServer, Protocol):
    """What runs SQL on the files: in this process, or in processes of its own."""

    async def run_batches(self, database_name: str, batches: Sequence[Batch], limits: Limits) -> list[BatchResult]:
        """Run batches of our own code on one connection, under the same rules for the SQL.

        Raises:
            FreeholdError: nothing is left open; what ran before may have been committed.
        """

    def closed(self, database_name: str) -> AbstractAsyncContextManager[None]:
        """Inside this context no connection to the database is open; requests end with `NotFound`."""

    async def check_moving(self) -> None:
        """Check that requests make progress.

        Raises:
            ProviderUnavailable: requests wait while only statements run that are past their limit and do not end.
        """

    async def close(self) -> None:
        """Stop everything that this process began."""


class LocalProvider:
    """Implements `DatabaseProvider`; `engine` and `verifier` are what the gateway needs besides.

    Create it and use it on one event loop; `aclose` ends it. With `snapshot`, new databases start at its version:
    copying a file is several times faster than loading SQL. No token has a wider profile than `most`, and
    `published` says which batches may nevertheless change a schema. Without an `engine` it has one in this process.
    """

    name = "local"
    files = None  # there is nothing beside the data to set aside

    def __init__(
        self,
        data_dir: Path,
        public_url: str,
        private_key: Ed25519PrivateKey,
        *,
        token_ttl_s: int = 900,
        max_size_bytes: int = 512_000_000,
        query_timeout_s: float = 5.0,
        transaction_timeout_s: float = 30.0,
        engine: "LocalEngine | None" = None,
        engine_limits: EngineLimits | None = None,
        snapshot: Callable[[], Awaitable[Snapshot | None]] | None = None,
        most: Profile = "rows",
        published: Published = nothing_published,
    ) -> None:
        self._files = TenantFiles(databases_dir_of(data_dir))
        self._public_url = public_url.rstrip("/")
        self._token_ttl_s = token_ttl_s
        self._templates = Templates(snapshot) if snapshot else None
        self._signer = TokenSigner(private_key, most=most)
        self._migration_limits = Limits(
            statement_s=_MIGRATION_S, request_s=2 * _MIGRATION_S, database_bytes=max_size_bytes, takes_turns=False
        )
        self.verifier = TokenVerifier(private_key.public_key(), most=most)
        limits = limits_of(query_timeout_s, transaction_timeout_s, max_size_bytes)
        self.engine: LocalEngine = engine or Engine(
            self._files, limits, engine_limits or EngineLimits(), RegistryBatches(published)
        )
        self.server: DatabaseServer = self.engine
        # Separate threads, which requests that wait for new databases cannot take.
        self._probe = ThreadPoolExecutor(1, "local-probe")
        self._folder: tuple[int, int] | None = None
        self.replicas: ReplicaServer | None = None  # there is no log here that a replica could follow

    async def create(self, database_name: str) -> Database:
        """Create the database, or return it if it exists."""
        check_name(database_name)
        template = await self._templates.get() if self._templates else None
        await asyncio.to_thread(self._create, database_name, template)
        return self._database(database_name)

    async def create_empty(self, database_name: str) -> None:
        """Create the database without a table in it."""
        check_name(database_name)
        await asyncio.to_thread(self._files.create, database_name)

    async def find(self, database_name: str) -> Database | None:
        """The database, or None if it does not exist."""
        check_name(database_name)
        return await asyncio.to_thread(self._find, database_name)

    async def locate(self, database_name: str) -> Database | None:
        """Same as `find`, which is quick here."""
        return await self.find(database_name)

    async def delete(self, database_name: str) -> None:
        """Delete the database with all its data, even while it is in use."""
        check_name(database_name)
        async with self.engine.closed(database_name):
            await asyncio.to_thread(self._files.delete, database_name)

    async def suspend(self, database_name: str, reason: str = "") -> None:
        """Refuse every statement, in any process on these files, until `resume`. One that already runs is completed."""
        check_name(database_name)
        if not await asyncio.to_thread(self._files.suspend, database_name, reason):
            raise missing(database_name)

    async def resume(self, database_name: str) -> None:
        """End `suspend`."""
        check_name(database_name)
        if not await asyncio.to_thread(self._files.resume, database_name):
            raise missing(database_name)

    async def fork(self, source_name: str, target_name: str) -> Database:
        """Copy the database as of one point in time to a new one."""
        check_name(source_name)
        check_name(target_name)
        await asyncio.to_thread(self._fork, source_name, target_name)
        return self._database(target_name)

    async def fork_at(self, source_name: str, target_name: str, at: datetime) -> Database:  # noqa: ARG002
        """Refuse: no earlier state is kept."""
        return await refuse_fork_at(self, source_name, target_name)

    async def export(self, database_name: str, path: Path, scratch_name: str) -> Copied:  # noqa: ARG002
        """Write the database as of one point in time into one SQLite file; no scratch database is needed."""
        check_name(database_name)
        await asyncio.to_thread(copy_file, self._files.path_of(database_name), path, for_reading=True)
        return Copied(0, 0, ())

    async def names(self) -> AsyncIterator[Sequence[str]]:
        """The names of all databases, one folder at a time."""
        pages = self._files.pages()
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            yield page

    async def open(self, database_name: str) -> Target:
        """The database as a target for migrations."""
        check_name(database_name)
        return LocalTarget(self.engine, database_name, self._migration_limits)

    async def mint_token(self, database_name: str, asked: Profile, subject: str, generation: int = 0) -> DatabaseToken:
        """A new token that opens this database only."""
        check_name(database_name)
        return self._signer.mint(database_name, asked, subject, self._token_ttl_s, generation)

    async def invalidate_tokens(self, database_name: str) -> None:
        """Do nothing: the gateway refuses tokens of an earlier generation."""
        if await self.find(database_name) is None:
            raise missing(database_name)

    async def check(self) -> None:
        """Return if databases can be created and served; also cleans up after a crash."""
        await self.engine.check_moving()
        await asyncio.get_running_loop().run_in_executor(self._probe, self._look)

    def damaged(self) -> Mapping[str, str]:
        """Nothing: this provider does not detect damaged databases."""
        return {}

    async def aclose(self) -> None:
        """Roll back what is open and close all files."""
        self._probe.shutdown(wait=False)
        await self.engine.close()

    def _look(self) -> None:
        """Require that the folder is still the one seen first: one created in its place would hold no databases."""
        if self._folder is not None and self._files.identity() != self._folder:
            raise ProviderUnavailable("the folder of tenant databases is gone; restart the service with its disk")
        self._files.check()
        self._folder = self._files.identity()

    def _create(self, database_name: str, template: Template | None) -> None:
        self._files.create(database_name, template.fill() if template else None)

    def _find(self, database_name: str) -> Database | None:
        if not self._files.exists(database_name):
            return None
        return self._database(database_name, is_suspended=self._files.is_suspended(database_name))

    def _fork(self, source_name: str, target_name: str) -> None:
        if not self._files.exists(source_name):
            raise missing(source_name)
        with self._files.draft() as draft:
            copy_file(self._files.path_of(source_name), draft)
            if not self._files.adopt(target_name, draft):
                raise taken(target_name)

    def _database(self, database_name: str, *, is_suspended: bool = False) -> Database:
        return Database(
            db_id=database_name,
            name=database_name,
            hostname=urlsplit(self._public_url).netloc,
            url=f"{self._public_url}/db/{database_name}/",
            is_suspended=is_suspended,
        )


class LocalTarget(Struct, frozen=True):
    """Implements `migrate.target.Target`: batches on one connection, in one hop."""

    engine: LocalEngine
    database_name: str
    limits: Limits

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches in order; a transaction that is open at the end is rolled back."""
        return await self.engine.run_batches(self.database_name, batches, self.limits)
