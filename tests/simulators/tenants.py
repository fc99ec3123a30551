"""Time that only moves when told, and a central database and a provider in memory that can be taken away."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from freehold.errors import CentralUnavailable, Conflict, NotFound, ProviderUnavailable
from freehold.libsql.protocol import Batch, BatchResult
from freehold.migrate.copying import Copied
from freehold.migrate.target import Target
from freehold.profiles import Profile
from freehold.tenants.types import UNPROVISIONED, Claim, Database, DatabaseToken, Marked, Tenant, TenantState

_START_MS = 1_700_000_000_000
_SETTLE_ROUNDS = 60


class SimulatedClock:
    """Implements `Clock`. `advance` lets everybody run who is due in between, in order."""

    def __init__(self) -> None:
        self.ms = _START_MS
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        # At least a millisecond: else somebody who sleeps for less would never let time pass.
        self._sleepers.append((self.ms + max(1, round(seconds * 1000)), next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        until_ms = self.ms + round(seconds * 1000)
        await settle()
        while True:
            self._sleepers = [each for each in self._sleepers if not each[2].done()]
            due = [each for each in self._sleepers if each[0] <= until_ms]
            if not due:
                break
            first = min(due)
            self.ms = max(self.ms, first[0])
            first[2].set_result(None)
            await settle()
        self.ms = until_ms


async def settle() -> None:
    """Let every task run until all of them wait for something."""
    for _ in range(_SETTLE_ROUNDS):
        await asyncio.sleep(0)


class _Row(msgspec.Struct, kw_only=True):
    tenant: Tenant
    due_at_ms: int | None


class MemoryTenants:
    """Implements `TenantStore`; `published` is the newest migration.

    `is_away` makes every call fail, `away_for` those of these names.
    """

    def __init__(self, published: int = 1) -> None:
        self.rows: dict[str, _Row] = {}
        self.missing: list[str] = []
        self.published = published
        self.is_away = False
        self.away_for: set[str] = set()
        self.calls: Counter[str] = Counter()

    def add(self, tenant_id: str, *, due_at_ms: int = 0, provider: str = "simulated") -> None:
        """A tenant as sign-up writes it."""
        moment = "2026-01-01T00:00:00.000Z"
        self.rows[tenant_id] = _Row(
            tenant=Tenant(
                tenant_id=tenant_id,
                user_id=f"user-{tenant_id}",
                database_name=f"db-{tenant_id}",
                provider=provider,
                state=TenantState.PROVISIONING,
                schema_version=0,
                error=None,
                attempts=0,
                created_at=moment,
                updated_at=moment,
            ),
            due_at_ms=due_at_ms,
        )

    def get(self, tenant_id: str) -> Tenant:
        return self.rows[tenant_id].tenant

    def states(self) -> Counter[str]:
        return Counter(row.tenant.state.value for row in self.rows.values())

    async def of_user(self, user_id: str) -> Tenant:
        await self._called("of_user")
        for row in self.rows.values():
            if row.tenant.user_id == user_id:
                return row.tenant
        raise NotFound("this user has no database")

    async def claim_due(self, provider: str, *, due_by_ms: int, lease_until_ms: int, limit: int) -> Sequence[Claim]:
        await self._called("claim_due")
        rows = sorted(self._due(provider, due_by_ms), key=lambda row: row.due_at_ms or 0)[:limit]
        for row in rows:
            row.due_at_ms = lease_until_ms
        return [Claim(tenant=row.tenant, lease_until_ms=lease_until_ms) for row in rows]

    async def renew(self, claims: Sequence[Claim], lease_until_ms: int) -> Sequence[Claim]:
        await self._called("renew")
        kept = [claim for claim in claims if self._claimed(claim)]
        for claim in kept:
            self.rows[claim.key].due_at_ms = lease_until_ms
        return [msgspec.structs.replace(claim, lease_until_ms=lease_until_ms) for claim in kept]

    async def release(self, claim: Claim, due_at_ms: int) -> None:
        await self._called("release")
        if row := self._claimed(claim):
            row.due_at_ms = due_at_ms

    async def mark_ready(self, tenant_id: str, schema_version: int, database_name: str | None = None) -> Marked:
        await self._called("mark_ready")
        row = self.rows[tenant_id]
        if row.tenant.state not in UNPROVISIONED:
            return "not_pending"
        if self.published > schema_version:
            return "behind"
        row.due_at_ms = None
        self.change(tenant_id, state=TenantState.READY, schema_version=schema_version, error=None, attempts=0)
        return "ready"

    async def mark_failed(self, claim: Claim, error: str, retry_at_ms: int) -> bool:
        await self._called("mark_failed")
        row = self._claimed(claim)
        if row is None:
            return False
        row.due_at_ms = retry_at_ms
        tenant_id = row.tenant.tenant_id
        self.change(tenant_id, state=TenantState.FAILED, error=error, attempts=row.tenant.attempts + 1)
        return True

    async def next_due_ms(self, provider: str) -> int | None:
        await self._called("next_due_ms")
        waiting = [
            row.due_at_ms
            for row in self.rows.values()
            if row.due_at_ms is not None and row.tenant.state in UNPROVISIONED and row.tenant.provider == provider
        ]
        return min(waiting, default=None)

    async def count_due(self, provider: str, due_by_ms: int) -> int:
        await self._called("count_due")
        return len(self._due(provider, due_by_ms))

    async def page(self, *, after: str = "", limit: int = 500, state: TenantState | None = None) -> Sequence[Tenant]:
        await self._called("page")
        found = sorted(
            (row.tenant for row in self.rows.values() if row.tenant.tenant_id > after),
            key=lambda tenant: tenant.tenant_id,
        )
        return [tenant for tenant in found if state in (None, tenant.state)][:limit]

    async def emails(self, user_ids: Sequence[str]) -> Mapping[str, str]:
        return {user_id: f"{user_id}@example.com" for user_id in user_ids}

    async def counts(self) -> Mapping[TenantState, int]:
        await self._called("counts")
        return Counter(row.tenant.state for row in self.rows.values())

    async def count_missing(self) -> int:
        await self._called("count_missing")
        return len(self.missing)

    async def add_missing(self, provider: str, limit: int) -> int:
        await self._called("add_missing")
        taken, self.missing = self.missing[:limit], self.missing[limit:]
        for user_id in taken:
            self.add(f"of-{user_id}", provider=provider)
        return len(taken)

    def change(self, tenant_id: str, **changes: object) -> None:
        row = self.rows[tenant_id]
        row.tenant = msgspec.structs.replace(row.tenant, **changes)

    async def _called(self, name: str) -> None:
        await asyncio.sleep(0)
        self.calls[name] += 1
        if self.is_away or name in self.away_for:
            raise CentralUnavailable("the central database does not answer")

    def _due(self, provider: str, due_by_ms: int) -> list[_Row]:
        return [
            row
            for row in self.rows.values()
            if row.due_at_ms is not None
            and row.due_at_ms <= due_by_ms
            and row.tenant.state in UNPROVISIONED
            and row.tenant.provider == provider
        ]

    def _claimed(self, claim: Claim) -> _Row | None:
        row = self.rows[claim.tenant.tenant_id]
        is_ours = row.due_at_ms == claim.lease_until_ms and row.tenant.state in UNPROVISIONED
        return row if is_ours else None


class SimulatedTarget:
    """A database in memory; migrations are applied to it by `SimulatedProvider.bring_up_to_date`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.version = 0

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        raise NotImplementedError


class Poisoned(Conflict):
    """Stands for a migration that a database refuses."""

    code = "migration_failed"


class SimulatedProvider:
    """Implements `DatabaseProvider`, and the migrating that follows.

    `is_down`: nothing can be made. `broken`: cannot be made for these. `poisoned`: made, but a migration fails.
    `hanging`: the call for these never returns. `buggy`: it fails as no provider should. `trouble`: what looking
    for one raises. `took_s`: how long a creation takes.
    """

    name = "simulated"

    def __init__(self, clock: SimulatedClock, store: MemoryTenants) -> None:
        self.databases: dict[str, SimulatedTarget] = {}
        self.created: Counter[str] = Counter()
        self.checks = 0
        self.is_down = False
        self.broken: set[str] = set()
        self.poisoned: set[str] = set()
        self.hanging: set[str] = set()
        self.suspended: set[str] = set()
        self.buggy: set[str] = set()
        self.trouble: Exception | None = None
        self.took_s = 0.0
        self.at_once = 0
        self.most_at_once = 0
        self.tokens = itertools.count(1)
        self._clock = clock
        self._store = store

    async def create(self, database_name: str) -> Database:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._create(database_name)
        finally:
            self.at_once -= 1
        return self._database(database_name)

    async def _create(self, name: str) -> None:
        self.created[name] += 1
        if self.took_s:
            await self._clock.sleep(self.took_s)
        if name in self.hanging:
            await asyncio.Event().wait()
        if name in self.buggy:
            raise ZeroDivisionError("a secret that no operator shall see in the row")
        if self.is_down or name in self.broken:
            raise ProviderUnavailable("the disk does not answer")
        self.databases.setdefault(name, SimulatedTarget(name))

    async def find(self, database_name: str) -> Database | None:
        if self.trouble:
            raise self.trouble
        return self._database(database_name) if database_name in self.databases else None

    async def locate(self, database_name: str) -> Database | None:
        return await self.find(database_name)

    async def delete(self, database_name: str) -> None:
        self.databases.pop(database_name, None)

    async def create_empty(self, database_name: str) -> None:
        await self._create(database_name)

    async def suspend(self, database_name: str, reason: str = "") -> None:
        if database_name not in self.databases:
            raise NotFound("no such database")
        self.suspended.add(database_name)

    async def resume(self, database_name: str) -> None:
        self.suspended.discard(database_name)

    async def fork(self, source_name: str, target_name: str) -> Database:
        raise NotImplementedError

    async def fork_at(self, source_name: str, target_name: str, at: datetime) -> Database:
        raise NotImplementedError

    async def export(self, database_name: str, path: Path, scratch_name: str) -> Copied:
        raise NotImplementedError

    async def names(self) -> AsyncIterator[Sequence[str]]:
        yield list(self.databases)

    async def open(self, database_name: str) -> Target:
        return self.databases[database_name]

    async def invalidate_tokens(self, database_name: str) -> None:
        raise NotImplementedError

    async def mint_token(self, database_name: str, asked: Profile, subject: str, generation: int = 0) -> DatabaseToken:
        return DatabaseToken(
            text=f"token-{next(self.tokens)}-{database_name}-{subject}",
            profile=asked,
            expires_at=datetime(2026, 1, 31, 10, 20, tzinfo=UTC) + timedelta(minutes=15),
        )

    async def check(self) -> None:
        self.checks += 1
        if self.is_down:
            raise ProviderUnavailable("the disk does not answer")

    async def bring_up_to_date(self, target: Target) -> int:
        assert isinstance(target, SimulatedTarget)
        if target.name in self.poisoned:
            raise Poisoned("migration 1 (create_words), statement 2: no such table: word")
        published = self._store.published
        await asyncio.sleep(0)
        target.version = max(target.version, published)
        return target.version

    def _database(self, name: str) -> Database:
        return Database(
            db_id=f"id-{name}",
            name=name,
            hostname="127.0.0.1:8000",
            url=f"http://127.0.0.1:8000/db/{name}/",
            is_suspended=name in self.suspended,
        )
