"""The databases themselves: namespaces of one sqld, named by their database's id."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.errors import NotFound
from freehold.providers.desk import Desk
from freehold.providers.sqld.checks.schemas import Schemas
from freehold.providers.sqld.client.admin import NamespaceConfig, NamespaceStats, SqldAdmin
from freehold.providers.sqld.client.keys import NamespaceKeys
from freehold.providers.sqld.client.namespaces import Namespaces
from freehold.providers.sqld.client.upstream import Upstream
from freehold.providers.sqld.forward import SqldServer
from freehold.providers.sqld.process.control import SupervisorLink
from freehold.providers.sqld.process.supervised import running_sqld
from freehold.providers.sqld.provider import DURABILITY
from freehold.providers.sqld.replicas.calls import SqldReplicas
from freehold.providers.sqld.turns.watch import Watch

# Turso's limit is not documented; this is longer than apps there wait.
_STATEMENT_S = 10.0
_LOG_BYTES = 512_000_000


class Engine:
    """Creates, forks, configures and deletes databases by id; `server` and `replicas` serve them."""

    def __init__(self, admin: SqldAdmin, keys: NamespaceKeys, upstream: Upstream, link: SupervisorLink) -> None:
        self._admin = admin
        self._keys = keys
        namespaces = Namespaces(upstream, admin, keys)
        self.watch = Watch(
            admin, namespaces, link, cores=os.cpu_count() or 1, statement_s=_STATEMENT_S, max_size_bytes=_LOG_BYTES
        )
        # Turso's tokens have no profiles.
        schemas = Schemas(namespaces, Desk())
        self.server = SqldServer(namespaces, keys.secret("batons"), self.watch, None, schemas=schemas)
        self.replicas = SqldReplicas(
            namespaces, admin, keys.secret("replicas"), self.watch.turns, None, schemas=schemas
        )

    async def create(self, db_id: str, size_bytes: int) -> None:
        """Create an empty database."""
        config = {
            "jwt_key": self._keys.public_text(db_id),
            "max_db_size": str(size_bytes),
            "durability_mode": DURABILITY,
        }
        await self._admin.create(db_id, config)

    async def fork(self, source_id: str, db_id: str, size_bytes: int) -> None:
        """Copy a database as it is now. Raises `NotFound` without a source."""
        made = await self._admin.fork(source_id, db_id)
        if made is None:
            raise NotFound("the source is gone")
        await self.configure(db_id, size_bytes, block_reads=False, block_writes=False)

    async def configure(self, db_id: str, size_bytes: int, *, block_reads: bool, block_writes: bool) -> None:
        """Set what the engine enforces; a missing database is left alone."""
        config = NamespaceConfig(
            block_reads=block_reads,
            block_writes=block_writes,
            max_db_size=str(size_bytes),
            jwt_key=self._keys.public_text(db_id),
            durability_mode=DURABILITY,
        )
        await self._admin.set_config(db_id, config)

    async def delete(self, db_id: str) -> None:
        """Delete the database; no error if it is gone."""
        await self._admin.delete(db_id)

    async def stats(self, db_id: str) -> NamespaceStats:
        """What was read and written, and which statements cost most."""
        return await self._admin.stats(db_id) or NamespaceStats()


@asynccontextmanager
async def running_engine(binary: Path, folder: Path, private_key: Ed25519PrivateKey) -> AsyncIterator[Engine]:
    """An engine on the data in `folder`. Raises `Unavailable` when sqld does not start."""
    async with (
        running_sqld(binary, folder, private_key) as sqld,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        upstream = Upstream(sqld.url)
        try:
            admin = SqldAdmin(session, sqld.admin_url, sqld.admin_key)
            link = SupervisorLink(session, sqld.supervisor_url, sqld.admin_key)
            engine = Engine(admin, await asyncio.to_thread(NamespaceKeys, private_key), upstream, link)
            try:
                yield engine
            finally:
                await engine.watch.aclose()
        finally:
            upstream.close()
