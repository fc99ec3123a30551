"""The central database: one engine, short transactions, the audit trail, translated errors."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import URL, Executable, Result, event, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from freehold.audit.chain import chained, draft, is_authentic, mac
from freehold.audit.origin import Origin, current_origin
from freehold.audit.types import RESEALED, STARTED, SYSTEM, Draft, Event
from freehold.central.file_probe import MOVED, MOVED_FUNCTION, MOVED_SQL, FileProbe, Probe
from freehold.central.one_hop import BEGIN, BEGIN_IMMEDIATE, OneHop, file_url
from freehold.central.tables import audit_head
from freehold.dates import to_iso, utc_now
from freehold.errors import CentralUnavailable
from freehold.fair_line import FairLine
from freehold.libsql.bearer import Token
from freehold.libsql.sqlalchemy.urls import engine_url
from freehold.log import get_logger

# With more namespaces than it keeps open, sqld sometimes denies for a moment that the requested one exists.
MISSING_GRACE_S = 2.0
_BUSY_TIMEOUT_MS = 5_000
# The wait in line before that; the line is long when many write on a busy machine.
_IN_LINE_S = 15.0
_CONNECTIONS = 8  # one of them for the writer
_READ = "read"
# The audit trail; docs/audit.md describes its guarantees.
_COLUMNS = (*Draft.__struct_fields__, "seq", "hash", "previous", "seal")
_APPEND = text(
    f"INSERT INTO audit_append ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
)
_HEAD = select(audit_head.c.seq, audit_head.c.hash, audit_head.c.seal)

log = get_logger()


@dataclass(slots=True)
class Commits:
    """The number of times that this process may have changed the database."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Central:
    """Runs short transactions on the central database. Never await the network inside one.

    `IntegrityError` passes through for stores to translate; any other database error becomes `CentralUnavailable`.
    """

    engine: AsyncEngine
    mac_key: bytes = b""  # see `audit.chain.mac_key`
    now: Callable[[], datetime] = utc_now
    commits: Commits = field(default_factory=Commits)
    # This process's writers, one at a time: SQLite waits for a lock by sleeping and retrying, which makes a transaction
    # six times as long with sixteen writers.
    writers: FairLine = field(default_factory=lambda: FairLine(1))
    readers: FairLine = field(default_factory=lambda: FairLine(_CONNECTIONS - 1))
    # Checks whether the database answers without waiting in line.
    probe: Probe | None = None

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that takes the write lock at its start and commits at the end.

        Raises:
            CentralUnavailable: no answer, locked for too long, or not writable.
        """
        try:
            async with _turn(self.writers), _in_our_words(), self.engine.begin() as db:
                yield db
        finally:
            self.commits.count += 1  # also after a failure, which may have come after the commit

    @asynccontextmanager
    async def read(self, *, ahead: bool = False) -> AsyncIterator[AsyncConnection]:
        """A consistent snapshot for reading; takes no lock. With `ahead` it skips the line, for the shared change feed.

        Raises:
            CentralUnavailable: no answer.
        """
        async with _turn(self.readers, ahead=ahead), _in_our_words(), self.engine.connect() as db:
            await db.execution_options(**{_READ: True})
            yield db

    async def fetch(self, query: Executable, values: Mapping[str, Any] | None = None) -> Result[*tuple[Any, ...]]:
        """The rows of one query, in a transaction of `read`."""
        async with self.read() as db:
            return (await db.execute(query, values)).freeze()()

    async def change(self, statement: Executable, values: Mapping[str, Any] | None = None) -> int:
        """Run one statement in a transaction of `write`; returns how many rows it changed."""
        async with self.write() as db:
            return (await db.execute(statement, values)).rowcount

    async def record(self, db: AsyncConnection, *events: Event) -> None:
        """Add events to the audit trail in this transaction of `write`, committed with it or not at all."""
        await self.record_drafts(db, [self.draft(event) for event in events])

    async def record_drafts(self, db: AsyncConnection, drafts: Sequence[Draft]) -> None:
        """The same for events drafted earlier."""
        seq, newest, found = (await db.execute(_HEAD)).one()
        if not self.has_authenticated(seq, newest, found):
            drafts = [_restarted(seq, drafts[0].at), *drafts]
        rows = []
        for entry in chained(newest, seq, drafts):
            seal = mac(self.mac_key, entry.seq, entry.hash)
            rows.append({**msgspec.structs.asdict(entry), "previous": newest, "seal": seal})
            newest = entry.hash
        await db.execute(_APPEND, rows if len(rows) > 1 else rows[0])

    def draft(self, event: Event) -> Draft:
        """The event with the current time and origin."""
        return draft(event, current_origin(), to_iso(self.now()))

    def has_authenticated(self, seq: int, newest_hash: str, found: str) -> bool:
        """Whether this is the MAC of a head of the audit trail, made with our key."""
        return is_authentic(self.mac_key, seq, newest_hash, found)

    async def check(self) -> None:
        """Return when the database answers, accepts writes and, if a file, can be written to.

        Raises:
            CentralUnavailable: it does not, or was moved.
        """
        # The probe has its own connection, so that busy connections do not matter.
        if isinstance(self.probe, FileProbe):
            # SQLite's lock goes to whoever polls at the right moment, and the wait in our own line says little.
            async with _turn(self.writers, ahead=True):
                await self.probe()
            return
        async with _in_our_words():
            await (self.probe or _EngineProbe(self.engine))()

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
        if self.probe is not None:
            await self.probe.close()


class _EngineProbe(Probe):
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def __call__(self) -> None:
        async with self._engine.connect() as db:
            await db.execution_options(**{_READ: True})
            was_moved = (await db.exec_driver_sql(MOVED_SQL)).first() is not None
        if was_moved:
            raise CentralUnavailable(MOVED)

    async def close(self) -> None:
        await self._engine.dispose()


def open_central(path: Path, mac_key: bytes = b"") -> Central:
    """Open the central database in a SQLite file (WAL, synced at each commit, foreign keys on).

    The folder must exist; the file is created on first use.
    """
    engine = _engine(file_url(path), module=OneHop())

    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is sent explicitly, see below
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    return Central(engine, mac_key, probe=FileProbe(path))


def open_remote_central(url: str, auth_token: Token = None, mac_key: bytes = b"") -> Central:
    """Open the central database on a libSQL server: `libsql://…`, `https://…` or `http://…`. Foreign keys are on there.

    If `auth_token` is a function, it is called again when the server rejects the last token. The durability of a commit
    is the server's setting; sqld's default does not sync each one to disk.

    Raises:
        LibsqlError: the URL cannot be used.
    """
    given: dict[str, Any] = {} if auth_token is None else {"auth_token": auth_token}
    given["missing_grace_s"] = MISSING_GRACE_S
    probe = _EngineProbe(_engine(engine_url(url), connections=1, **given))
    return Central(_engine(engine_url(url), **given), mac_key, probe=probe)


def _engine(url: URL, *, connections: int = _CONNECTIONS, module: OneHop | None = None, **connect: Any) -> AsyncEngine:
    engine = create_async_engine(
        url, module=module, connect_args=connect, pool_size=connections, max_overflow=0, pool_timeout=_IN_LINE_S
    )

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Any) -> None:
        # A deferred transaction that starts writing may fail because its snapshot is stale; take the lock at once.
        reads_only = connection.get_execution_options().get(_READ, False)
        connection.exec_driver_sql(BEGIN if reads_only else BEGIN_IMMEDIATE)

    return engine


@asynccontextmanager
async def _turn(line: FairLine, *, ahead: bool = False) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_BUSY_TIMEOUT_MS / 1000 if ahead else _IN_LINE_S):
            await line.enter(current_origin().site, ahead=ahead)
    except TimeoutError as error:
        raise CentralUnavailable("the central database is busy; try again in a moment") from error
    try:
        yield
    finally:
        line.leave()


@asynccontextmanager
async def _in_our_words() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except PoolTimeoutError as error:
        raise CentralUnavailable("the central database is busy; try again in a moment") from error
    except DBAPIError as error:
        if MOVED_FUNCTION in str(error.orig):
            raise CentralUnavailable(MOVED) from error
        raise CentralUnavailable("the central database does not answer; try again in a moment") from error


def _restarted(seq: int, at: str) -> Draft:
    """The entry that marks the start of the trail, or that its head was not written by us."""
    if seq:
        log.error("audit.head_not_ours", seq=seq)
    return draft(Event(RESEALED if seq else STARTED, actor=SYSTEM), Origin(), at)
