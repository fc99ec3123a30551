"""The tenants' rows, in a real central database; the simulated store of other tests is held to the same words."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, update
from testbed.sqld import Sqld

from freehold.central.engine import Central, open_central
from freehold.central.tables import published_migration, tenant, user
from freehold.central.tenants.store import CentralTenants
from freehold.errors import CentralUnavailable, NotFound
from freehold.tenants.ports import TenantStore
from freehold.tenants.types import Claim, TenantState
from tests.simulators.tenants import MemoryTenants
from tests.support.central_place import KINDS, CentralPlace, new_place, servers

_MOMENT = "2026-01-01T00:00:00.000Z"
_NOW = 1_000_000


class Fixture:
    """A store, and how to write into it what other parts of the service write."""

    def __init__(self, store: TenantStore, central: Central | None) -> None:
        self.store = store
        self._central = central

    async def add(self, tenant_id: str, *, due_at_ms: int = _NOW, provider: str = "local") -> None:
        if isinstance(self.store, MemoryTenants):
            self.store.add(tenant_id, due_at_ms=due_at_ms, provider=provider)
            return
        await self._run(
            insert(tenant).values(
                id=tenant_id, user_id=f"user-{tenant_id}", database_name=f"db-{tenant_id}", provider=provider,
                state="provisioning", schema_version=0, attempts=0, due_at_ms=due_at_ms,
                created_at=_MOMENT, updated_at=_MOMENT,
            )
        )  # fmt: skip

    async def set_state(self, tenant_id: str, state: TenantState) -> None:
        if isinstance(self.store, MemoryTenants):
            self.store.change(tenant_id, state=state)
        else:
            await self._run(update(tenant).where(tenant.c.id == tenant_id).values(state=state.value))

    async def publish(self, version: int) -> None:
        if isinstance(self.store, MemoryTenants):
            self.store.published = version
            return
        await self._run(
            insert(published_migration).values(
                version=version, name="n", description="d", sql="s", checksum="c", chain=f"chain-{version}",
                key_id="k", signature="s", created_at=_MOMENT,
            )
        )  # fmt: skip

    async def add_user(self, user_id: str) -> None:
        if isinstance(self.store, MemoryTenants):
            self.store.missing.append(user_id)
            return
        await self._run(
            insert(user).values(
                id=user_id, name="n", email=f"{user_id}@example.com", emailVerified=0,
                createdAt=_MOMENT, updatedAt=_MOMENT,
            )
        )  # fmt: skip

    async def claim(self, now_ms: int = _NOW, *, lease_ms: int = 10_000, limit: int = 10) -> list[Claim]:
        claims = await self.store.claim_due("local", due_by_ms=now_ms, lease_until_ms=now_ms + lease_ms, limit=limit)
        return list(claims)

    async def _run(self, statement: object) -> None:
        assert self._central is not None
        async with self._central.write() as db:
            await db.execute(statement)  # type: ignore[call-overload]


@asynccontextmanager
async def _central(folder: Path) -> AsyncIterator[Central]:
    async with CentralPlace(path=folder / "central.db").opened() as (opened, _):
        yield opened


@pytest.fixture(scope="module", params=["memory", *KINDS])
def server(request: pytest.FixtureRequest) -> Iterator[Sqld | str | None]:
    """What the rows of `params` need; `memory` needs nothing."""
    if request.param == "memory":
        yield "memory"
        return
    with servers(request.param) as running:
        yield running


@pytest.fixture
async def rows(server: Sqld | str | None, tmp_path: Path) -> AsyncIterator[Fixture]:
    if isinstance(server, str):
        yield Fixture(MemoryTenants(published=0), None)
        return
    async with new_place(server, tmp_path).opened() as (opened, _):
        yield Fixture(CentralTenants(opened), opened)


def _ids(claims: list[Claim]) -> list[str]:
    return sorted(claim.tenant.tenant_id for claim in claims)


async def test_a_claim_is_nobody_elses_until_its_lease_is_over(rows: Fixture) -> None:
    await rows.add("a")
    assert _ids(await rows.claim()) == ["a"]
    assert await rows.claim(_NOW + 9_999) == []
    assert _ids(await rows.claim(_NOW + 10_000)) == ["a"]


async def test_only_what_is_due_waiting_and_of_this_provider_is_claimed(rows: Fixture) -> None:
    await rows.add("later", due_at_ms=_NOW + 1)
    await rows.add("elsewhere", provider="turso")
    await rows.add("leaving")
    await rows.set_state("leaving", TenantState.DELETING)
    await rows.add("failed")
    await rows.set_state("failed", TenantState.FAILED)
    assert await rows.store.count_due("local", _NOW) == 1
    assert await rows.store.next_due_ms("local") == _NOW
    assert _ids(await rows.claim()) == ["failed"]
    assert await rows.store.next_due_ms("local") == _NOW + 1
    assert await rows.store.next_due_ms("sqld") is None


async def test_the_longest_due_are_claimed_first(rows: Fixture) -> None:
    for number in (3, 1, 2, 0):
        await rows.add(f"t{number}", due_at_ms=_NOW - 10 + number)
    assert _ids(await rows.claim(limit=2)) == ["t0", "t1"]
    assert _ids(await rows.claim(limit=2)) == ["t2", "t3"]


async def test_a_hundred_claims_at_once_give_each_tenant_to_one(rows: Fixture) -> None:
    for number in range(40):
        await rows.add(f"t{number:02}")
    calls: list[Awaitable[list[Claim]]] = [rows.claim(limit=1) for _ in range(100)]
    claimed = [claim for claims in await asyncio.gather(*calls) for claim in claims]
    assert _ids(claimed) == [f"t{number:02}" for number in range(40)]


async def test_a_lease_is_renewed_by_its_holder_only(rows: Fixture) -> None:
    await rows.add("a")
    first = (await rows.claim())[0]
    [renewed] = await rows.store.renew([first], _NOW + 50_000)
    assert renewed.lease_until_ms == _NOW + 50_000
    assert await rows.store.renew([first], _NOW + 90_000) == []
    assert await rows.claim(_NOW + 49_999) == []
    assert _ids(await rows.claim(_NOW + 50_000)) == ["a"]
    assert await rows.store.renew([renewed], _NOW + 90_000) == []


async def test_what_is_given_back_is_due_at_once_unless_it_was_lost(rows: Fixture) -> None:
    await rows.add("a")
    first = (await rows.claim())[0]
    await rows.store.release(first, _NOW + 1)
    second = await rows.claim(_NOW + 1)
    assert _ids(second) == ["a"]
    await rows.store.release(first, _NOW + 1)
    assert await rows.claim(_NOW + 2) == []


async def test_a_failure_is_recorded_by_the_holder_only_and_counted(rows: Fixture) -> None:
    await rows.add("a")
    first = (await rows.claim())[0]
    assert await rows.store.mark_failed(first, "no answer", _NOW + 500)
    assert not await rows.store.mark_failed(first, "once more", _NOW + 700)
    second = (await rows.claim(_NOW + 500))[0]
    assert (second.tenant.state, second.tenant.attempts, second.tenant.error) == (TenantState.FAILED, 1, "no answer")
    assert await rows.store.mark_failed(second, "no answer still", _NOW + 900)
    assert (await rows.store.of_user("user-a")).attempts == 2


async def test_ready_clears_the_error_and_leaves_nothing_due(rows: Fixture) -> None:
    await rows.add("a")
    await rows.store.mark_failed((await rows.claim())[0], "no answer", _NOW)
    assert await rows.store.mark_ready("a", 0) == "ready"
    found = await rows.store.of_user("user-a")
    assert (found.state, found.error, found.attempts) == (TenantState.READY, None, 0)
    assert await rows.store.next_due_ms("local") is None
    assert await rows.claim(_NOW * 2) == []


async def test_ready_needs_no_lease_but_a_late_holder_cannot_take_it_back(rows: Fixture) -> None:
    await rows.add("a")
    late = (await rows.claim())[0]
    assert _ids(await rows.claim(_NOW + 10_000)) == ["a"]
    assert await rows.store.mark_ready("a", 0) == "ready"
    assert await rows.store.mark_ready("a", 0) == "not_pending"
    assert not await rows.store.mark_failed(late, "late", _NOW)
    assert await rows.store.renew([late], _NOW) == []
    await rows.store.release(late, _NOW)
    assert await rows.claim(_NOW * 2) == []


async def test_a_tenant_behind_the_published_version_is_not_ready(rows: Fixture) -> None:
    await rows.add("a")
    await rows.publish(1)
    await rows.publish(2)
    assert await rows.store.mark_ready("a", 1) == "behind"
    assert (await rows.store.of_user("user-a")).state is TenantState.PROVISIONING
    assert await rows.store.mark_ready("a", 2) == "ready"
    assert (await rows.store.of_user("user-a")).schema_version == 2


@pytest.mark.parametrize("state", [TenantState.SUSPENDED, TenantState.DELETING, TenantState.DELETED])
async def test_a_tenant_that_left_meanwhile_is_not_made_ready(rows: Fixture, state: TenantState) -> None:
    await rows.add("a")
    claim = (await rows.claim())[0]
    await rows.set_state("a", state)
    assert await rows.store.mark_ready("a", 0) == "not_pending"
    assert not await rows.store.mark_failed(claim, "late", _NOW)
    assert (await rows.store.of_user("user-a")).state is state


async def test_pages_follow_each_other_without_gap_or_repeat(rows: Fixture) -> None:
    for number in range(25):
        await rows.add(f"t{number:02}")
    for number in range(0, 25, 5):
        await rows.store.mark_ready(f"t{number:02}", 0)
    found: list[str] = []
    while page := await rows.store.page(after=found[-1] if found else "", limit=7):
        found += [tenant.tenant_id for tenant in page]
    assert found == [f"t{number:02}" for number in range(25)]
    ready = await rows.store.page(state=TenantState.READY)
    assert [tenant.tenant_id for tenant in ready] == ["t00", "t05", "t10", "t15", "t20"]
    assert await rows.store.counts() == {TenantState.READY: 5, TenantState.PROVISIONING: 20}


async def test_a_user_without_a_tenant_gets_one_also_when_two_ask_at_once(rows: Fixture) -> None:
    for number in range(10):
        await rows.add_user(f"u{number}")
    assert await rows.store.count_missing() == 10
    added = await asyncio.gather(*(rows.store.add_missing("local", 7) for _ in range(4)))
    assert sum(added) == 10
    assert await rows.store.count_missing() == 0
    assert len(await rows.claim(10**15, limit=50)) == 10


async def test_an_unknown_user_has_no_tenant(rows: Fixture) -> None:
    with pytest.raises(NotFound):
        await rows.store.of_user("nobody' OR 1=1 --")


async def test_every_call_says_so_when_the_central_database_is_away(tmp_path: Path) -> None:
    gone = open_central(tmp_path / "no such folder" / "central.db")
    store = CentralTenants(gone)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.of_user("a"),
        lambda: store.claim_due("local", due_by_ms=1, lease_until_ms=2, limit=1),
        lambda: store.next_due_ms("local"),
        lambda: store.mark_ready("a", 1),
        store.counts,
        store.page,
    ]
    for call in calls:
        with pytest.raises(CentralUnavailable):
            await call()
    await gone.close()
    # A connection that failed to open ends its thread a moment later, and wants our event loop for that.
    async with asyncio.timeout(5):
        while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.01)


async def test_no_call_reads_all_tenants_but_those_that_count(tmp_path: Path) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        if not sql.startswith(("BEGIN", "INSERT")):
            asked.append((sql, parameters))

    async with _central(tmp_path) as central:
        store = CentralTenants(central)
        event.listen(central.engine.sync_engine, "before_cursor_execute", note)
        await store.page(after="a", state=TenantState.FAILED)
        await store.claim_due("local", due_by_ms=1, lease_until_ms=2, limit=3)
        await store.next_due_ms("local")
        await store.count_due("local", 1)
        await store.mark_ready("a", 1)
        event.remove(central.engine.sync_engine, "before_cursor_execute", note)
        assert len(asked) == 6
        async with central.read() as db:
            for sql, parameters in asked:
                rows = (await db.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)).mappings()
                steps = [str(row["detail"]) for row in rows]
                assert not [step for step in steps if step.startswith("SCAN tenant") and "INDEX" not in step]
                assert not [step for step in steps if "TEMP B-TREE" in step], sql
