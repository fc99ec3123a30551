"""The `sqld` provider: one namespace per tenant on a self-hosted libSQL server."""

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.errors import ProviderUnavailable
from freehold.libsql.http import batch_results
from freehold.libsql.protocol import Batch, BatchReq, BatchResult, CloseReq, PipelineReq, StreamReq
from freehold.log import get_logger
from freehold.migrate.copying import Copied
from freehold.migrate.target import Target
from freehold.profiles import Profile
from freehold.providers.desk import Desk
from freehold.providers.forks import export_fork, refuse_fork_at
from freehold.providers.names import check_name, missing, taken
from freehold.providers.published import Published, nothing_published
from freehold.providers.serving import Standing, Supervision
from freehold.providers.sqld.checks.schemas import Schemas
from freehold.providers.sqld.checks.transactions import TRANSACTION_S
from freehold.providers.sqld.client.admin import NamespaceConfig, SqldAdmin
from freehold.providers.sqld.client.keys import NamespaceKeys
from freehold.providers.sqld.client.namespaces import Namespaces
from freehold.providers.sqld.client.upstream import Upstream
from freehold.providers.sqld.forward import SqldServer
from freehold.providers.sqld.process.control import SupervisorLink, SupervisorState
from freehold.providers.sqld.process.log_files import LogFiles, namespace_pages
from freehold.providers.sqld.replicas.calls import SqldReplicas
from freehold.providers.sqld.turns.watch import STUCK_S, Watch
from freehold.providers.tokens import TokenSigner, TokenVerifier
from freehold.tenants.errors import DatabaseDamaged
from freehold.tenants.types import Database, DatabaseToken

log = get_logger()

# Each commit reaches the disk before it is acknowledged. sqld's default does not wait for that.
DURABILITY = "strong"
_MIGRATION_S = 120.0
_REPLICA_S = 60.0
_BACK_WITHIN_S = 5.0
_MOST_LOOKED_AT = 200


class SqldProvider:
    """Implements `DatabaseProvider`; `server`, `replicas` and `verifier` are what the gateway needs besides.

    Create it and use it on one event loop; `aclose` ends it. The private key signs the tokens that clients get, and
    every namespace's own key is derived from it. With `data_dir`, sqld's own, its databases can be listed. No token
    has a wider profile than `most`, and `published` says which batches may nevertheless change a schema.
    """

    name = "sqld"

    def __init__(
        self,
        url: str,
        admin_url: str,
        admin_key: str,
        private_key: Ed25519PrivateKey,
        public_url: str,
        *,
        token_ttl_s: int = 900,
        max_size_bytes: int = 512_000_000,
        admin_timeout_s: float = 10.0,
        query_timeout_s: float = 5.0,
        transaction_timeout_s: float = TRANSACTION_S,
        cores: int = 0,
        supervisor_url: str = "",
        stuck_s: float = STUCK_S,
        data_dir: Path | None = None,
        most: Profile = "rows",
        published: Published = nothing_published,
    ) -> None:
        self._data_dir = data_dir
        self.files = LogFiles(data_dir) if data_dir else None
        self._looking: asyncio.Task[None] | None = None
        self._public_url = public_url.rstrip("/")
        self._token_ttl_s = token_ttl_s
        self._max_size = str(max_size_bytes)
        self._signer = TokenSigner(private_key, most=most)
        self._keys = NamespaceKeys(private_key)
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._upstream = Upstream(url)
        self._admin = SqldAdmin(self._session, admin_url, admin_key, timeout_s=admin_timeout_s)
        self._namespaces = Namespaces(
            self._upstream, self._admin, self._keys, patience_s=_BACK_WITHIN_S if supervisor_url else 0.0
        )
        self._supervision: Supervision = "supervised" if supervisor_url else "unsupervised"
        self._desk = Desk()
        schemas = Schemas(self._namespaces, self._desk, transaction_s=transaction_timeout_s)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.verifier = TokenVerifier(private_key.public_key(), most=most)
        link = SupervisorLink(self._session, supervisor_url, admin_key) if supervisor_url else None
        self.watch = Watch(
            self._admin,
            self._namespaces,
            link,
            cores=cores or os.cpu_count() or 1,
            statement_s=query_timeout_s,
            max_size_bytes=max_size_bytes,
            stuck_s=stuck_s,
        )
        self.server = SqldServer(
            self._namespaces,
            self._keys.secret("batons"),
            self.watch,
            published,
            schemas=schemas,
            transaction_s=transaction_timeout_s,
        )
        self.replicas = SqldReplicas(
            self._namespaces,
            self._admin,
            self._keys.secret("replicas"),
            self.watch.turns,
            published,
            schemas=schemas,
            timeout_s=_REPLICA_S,
            transaction_s=transaction_timeout_s,
        )

    async def create(self, database_name: str) -> Database:
        """Create the namespace, or return it if it exists; with its own key in either case."""
        check_name(database_name)
        wanted = {
            "jwt_key": self._keys.public_text(database_name),
            "max_db_size": self._max_size,
            "durability_mode": DURABILITY,
        }
        if not await self._admin.create(database_name, wanted):
            await self._adopt(database_name)
        return self._database(database_name)

    async def create_empty(self, database_name: str) -> None:
        """Create the namespace, which is empty."""
        await self.create(database_name)

    async def find(self, database_name: str) -> Database | None:
        """The database, or None if there is no such namespace."""
        check_name(database_name)
        config = await self._admin.config(database_name)
        if config is None:
            return None
        is_suspended = config.block_reads and config.block_writes
        return msgspec.structs.replace(self._database(database_name), is_suspended=is_suspended)

    async def locate(self, database_name: str) -> Database | None:
        """Same as `find`, which is quick here."""
        return await self.find(database_name)

    async def delete(self, database_name: str) -> None:
        """Delete the namespace with all its data, and make sure that it is gone."""
        check_name(database_name)
        await self._admin.delete(database_name)
        if await self._admin.config(database_name) is not None:
            raise ProviderUnavailable(f"sqld still has the namespace `{database_name}` after deleting it")

    def names(self) -> AsyncIterator[Sequence[str]] | None:
        """The names of all namespaces, if sqld's folder is accessible: its admin API has no such call."""
        return namespace_pages(self._data_dir) if self._data_dir else None

    async def open(self, database_name: str) -> Target:
        """The database as a target for migrations."""
        check_name(database_name)
        return SqldTarget(self._namespaces, database_name)

    async def mint_token(self, database_name: str, asked: Profile, subject: str, generation: int = 0) -> DatabaseToken:
        """A new token that opens this database only, through our gateway; sqld itself does not accept it."""
        check_name(database_name)
        return self._signer.mint(database_name, asked, subject, self._token_ttl_s, generation)

    async def invalidate_tokens(self, database_name: str) -> None:
        """Do nothing: the gateway refuses tokens of an earlier generation."""
        if await self.find(database_name) is None:
            raise missing(database_name)

    @property
    def supervision(self) -> Supervision:
        """Whether a supervisor restarts sqld when it ends, as of the last `check` or `standing`."""
        return self._supervision

    async def standing(self) -> Standing:
        """The current state of sqld."""
        state = await self._supervisor_state()
        turns = self.watch.turns
        return Standing(
            is_up=await self._namespaces.is_healthy(),
            supervision=self._supervision,
            restarts=None if state is None else state.restarts,
            memory_bytes=None if state is None else state.memory_bytes,
            places=turns.limit,
            running=len(turns.running),
            waiting=turns.waiting,
            lingering=len(turns.lingering),
            stopped=turns.stopped,
            stuck=self.watch.stuck,
            slowed=turns.slowed,
            logs_forced=self.watch.logs.forced,
        )

    async def _supervisor_state(self) -> SupervisorState | None:
        if self.watch.link is None:
            return None
        state = await self.watch.link.state()
        found: Supervision = "unreachable" if state is None else "supervised"
        if found != self._supervision and state is None:
            log.warning("sqld.supervisor_unreachable")
        self._supervision = found
        return state

    async def check(self) -> None:
        """Return if both ports answer and the admin key is right."""
        await self._supervisor_state()
        await self._admin.check()
        if not await self._namespaces.is_healthy():
            raise ProviderUnavailable("sqld does not answer at SQLD_URL, or is not well")
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_at_damaged(is_first=self._looking is None))

    def damaged(self) -> Mapping[str, str]:
        """The databases that sqld could not open and that have not answered since, with its message."""
        return self._admin.damages.told()

    async def _look_at_damaged(self, *, is_first: bool) -> None:
        """Check the damaged databases again; the first time also those whose files look damaged."""
        with contextlib.suppress(ProviderUnavailable, OSError):
            looked = await self.files.damaged() if self.files is not None and is_first else ()
            for name in (*self._admin.damages, *looked[:_MOST_LOOKED_AT]):
                with contextlib.suppress(DatabaseDamaged):
                    await self._admin.config(name)  # which remembers or forgets it

    async def suspend(self, database_name: str, reason: str = "") -> None:
        """Refuse every statement, including those of open streams, until `resume`. The data stay.

        Raises:
            NotFound: no such database.
        """
        await self._change(database_name, block_reads=True, block_writes=True, block_reason=reason or None)

    async def resume(self, database_name: str) -> None:
        """End `suspend`. Raises `NotFound`."""
        await self._change(database_name, block_reads=False, block_writes=False, block_reason=None)

    async def fork(self, source_name: str, target_name: str) -> Database:
        """Copy a database as it is now to a new one, which gets its own key and is not suspended.

        A fork that was stopped before the copy had its own key is finished by the next call.

        Raises:
            NotFound: no such source.
            Conflict: the target exists already.
        """
        check_name(source_name)
        check_name(target_name)
        # Look first: a fork to the name of a database that exists, but is not open, makes sqld forget that database.
        config = await self._admin.config(target_name)
        if config is None:
            made = await self._admin.fork(source_name, target_name)
            if made is None:
                raise missing(source_name)
            if made is False:  # by another process in the meantime
                config = await self._admin.config(target_name)
        if config is not None and config.jwt_key != self._keys.public_text(source_name):
            raise taken(target_name)
        await self.resume(target_name)
        return self._database(target_name)

    async def fork_at(self, source_name: str, target_name: str, at: datetime) -> Database:  # noqa: ARG002
        """Refuse: no earlier state is kept."""
        return await refuse_fork_at(self, source_name, target_name)

    async def export(self, database_name: str, path: Path, scratch_name: str) -> Copied:
        """Write the database as of one point in time into a SQLite file.

        It copies a fork, which nobody writes to. sqld's own `/dump` breaks off at text that is not UTF-8 and at
        quotes in names, and writes NUL and infinities so that nothing can read them.
        """
        return await export_fork(self, check_name(database_name), path, scratch_name)

    async def aclose(self) -> None:
        """Close all connections."""
        self._desk.close()
        await self.watch.aclose()
        if self._looking is not None:
            self._looking.cancel()
        self._upstream.close()
        await self._session.close()

    async def _adopt(self, database_name: str) -> None:
        """Give an existing namespace its own key if an earlier run left it without."""
        config = await self._admin.config(database_name)
        if config is None:
            raise ProviderUnavailable(f"the namespace `{database_name}` was deleted while it was made")
        if (
            config.jwt_key != self._keys.public_text(database_name)
            or config.durability_mode != DURABILITY
            or config.allow_attach
        ):
            await self._change(database_name)

    async def _change(self, database_name: str, **changes: object) -> None:
        """Read, change, write: fields that are not sent are reset, even the key. One change at a time per database."""
        check_name(database_name)
        lock = self._locks[database_name]
        try:
            async with lock:
                config = await self._admin.config(database_name)
                if config is None or not await self._admin.set_config(
                    database_name, self._ours(database_name, config, changes)
                ):
                    raise missing(database_name)
        finally:
            if not lock.locked():
                self._locks.pop(database_name, None)

    def _ours(self, database_name: str, config: NamespaceConfig, changes: dict[str, object]) -> NamespaceConfig:
        return msgspec.structs.replace(
            config,
            jwt_key=self._keys.public_text(database_name),
            max_db_size=self._max_size,  # the value that sqld reports is rounded
            durability_mode=DURABILITY,
            allow_attach=False,
            **changes,
        )

    def _database(self, database_name: str) -> Database:
        return Database(
            db_id=database_name,
            name=database_name,
            hostname=urlsplit(self._public_url).netloc,
            url=f"{self._public_url}/db/{database_name}/",
        )


class SqldTarget(msgspec.Struct, frozen=True):
    """Implements `migrate.target.Target`: batches on one stream, in one round trip."""

    namespaces: Namespaces
    database_name: str

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches in order; a transaction that is open at the end is rolled back."""
        requests: list[StreamReq] = [*(BatchReq(batch) for batch in batches), CloseReq()]
        body = msgspec.json.encode(PipelineReq(tuple(requests)))
        try:
            async with asyncio.timeout(_MIGRATION_S):
                answer = await self.namespaces.post(self.database_name, "full", "/v3/pipeline", body)
                text = await answer.read()
        except TimeoutError as error:
            raise ProviderUnavailable("sqld did not answer in time; whether it ran is unknown") from error
        if answer.status != 200:
            refused = self.namespaces.refusal(self.database_name, answer.status, text)
            if isinstance(refused, DatabaseDamaged):
                raise refused
            reason = " ".join(text[:200].decode(errors="replace").split())
            raise ProviderUnavailable(f"sqld answered with HTTP status {answer.status}: {reason}")
        return batch_results(batches, text)
