"""`reconcile` on real providers: whatever became of the databases, or of their rows, it makes them agree."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from freehold.auth.dates import utc_now
from freehold.bootstrap import Services, open_services
from freehold.central.tables import tenant
from freehold.central.tenant_rows import new_tenant_row
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.migrate.ledger import read_ledger
from freehold.settings import load_settings
from freehold.tenants.findings import Finding, Kind, Reconciled
from freehold.tenants.names import new_database_name
from freehold.tenants.reconcile import Options
from tests.servers import ROOT, Service
from tests.sqld import Sqld, running_sqld
from tests.sqld_service import sqld_variables

_FAR_MS = 9_999_999_999_999
_HEAD = len(list((ROOT / "schema_registry/bahar").glob("*.sql")))
# What the newest migration made, taken back.
_FALL_BACK = ("DROP INDEX flashcards_due", f"DELETE FROM freehold_ledger WHERE version = {_HEAD}")


@dataclass
class House:
    """An installation, and ways to bring it into disorder."""

    services: Services
    sqld: Sqld | None
    findings: list[Finding] = field(default_factory=list)

    @property
    def lists(self) -> bool:
        return self.services.provider.names() is not None

    async def add(self, count: int, **columns: Any) -> list[str]:
        """New tenants; gives the names of their databases."""
        rows = [
            {**new_tenant_row(new_database_name(), self.provider, utc_now()), **columns} for _ in range(count)
        ]
        async with self.services.central.write() as db:
            await db.execute(insert(tenant), rows)
        return [row["database_name"] for row in rows]

    async def ready(self, count: int) -> list[str]:
        names = await self.add(count)
        assert not await self.services.provisioner.drain()
        return names

    async def change(self, name: str, **columns: Any) -> None:
        async with self.services.central.write() as db:
            await db.execute(update(tenant).where(tenant.c.database_name == name).values(**columns))

    async def rows(self) -> dict[str, tuple[str, int]]:
        """State and version by name."""
        async with self.services.central.read() as db:
            found = await db.execute(select(tenant.c.database_name, tenant.c.state, tenant.c.schema_version))
        return {name: (state, version) for name, state, version in found}

    @property
    def provider(self) -> str:
        return self.services.provider.name

    async def exists(self, name: str) -> bool:
        return await self.services.provider.find(name) is not None

    async def version(self, name: str) -> int:
        return (await read_ledger(await self.services.provider.open(name))).version

    async def run(self, name: str, *sql: str) -> None:
        target = await self.services.provider.open(name)
        [result] = await target.run([Batch(tuple(BatchStep(Stmt(sql=each)) for each in sql))])
        assert not any(result.step_errors), result.step_errors

    async def reconcile(self, **options: bool) -> Reconciled:
        self.findings.clear()
        return await self.services.reconciler.run(Options(**options), self.findings.append)

    def found(self, kind: Kind) -> dict[str, bool]:
        """Names of this kind, and whether they are repaired."""
        return {each.database_name: each.is_repaired for each in self.findings if each.kind is kind}


@asynccontextmanager
async def opened(folder: Path, sqld: Sqld | None = None, **more: str) -> AsyncIterator[House]:
    variables = {
        "DATA_DIR": str(folder / "data"),
        "SCHEMA_REGISTRY": str(ROOT / "schema_registry/bahar"),
        **(sqld_variables(sqld) if sqld else {}),
        **more,
    }
    async with open_services(load_settings(variables)) as services:
        await services.publish_registry()
        yield House(services, sqld)


@pytest.fixture(params=["local", "sqld", "sqld with its folder"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    with contextlib.ExitStack() as stack:
        sqld = None if request.param == "local" else stack.enter_context(running_sqld())
        more = {"SQLD_DATA_DIR": str(sqld.folder / "data")} if sqld and "folder" in request.param else {}
        async with opened(tmp_path, sqld, **more) as running:
            yield running


async def test_an_installation_in_order_is_left_alone(house: House) -> None:
    names = await house.ready(3)
    done = await house.reconcile()
    assert (done.checked, done.found, done.left, done.is_whole) == (3, {}, {}, True)
    assert await house.rows() == dict.fromkeys(names, ("ready", _HEAD))


async def test_whatever_differs_is_told_first_and_repaired_then(house: House) -> None:
    provider = house.services.provider
    well, missing, behind, forgotten, deleting, deleted = await house.ready(6)
    [failed] = await house.add(1, state="failed", error="the disk was full", attempts=7, due_at_ms=_FAR_MS)
    await provider.delete(missing)
    await house.run(behind, *_FALL_BACK)
    await house.change(forgotten, schema_version=3)  # the database is further than its row says
    await house.change(deleting, state="deleting", due_at_ms=0)
    await house.change(deleted, state="deleted")

    done = await house.reconcile(dry_run=True)
    wanted = {Kind.MISSING: 1, Kind.BEHIND: 1, Kind.PENDING: 1, Kind.DELETING: 1, Kind.ORPHAN: 1}
    assert done.left == done.found == wanted
    assert not any(each.is_repaired for each in house.findings)
    assert await house.exists(deleting)
    assert await house.exists(deleted)
    assert not await house.exists(missing)

    done = await house.reconcile()
    assert (done.left, done.is_whole) == ({}, True), house.findings
    assert done.found == {**wanted, Kind.PENDING: 2}  # the missing one was made again, too
    assert house.found(Kind.MISSING) == {missing: True}
    assert house.found(Kind.BEHIND) == {behind: True}
    ready = {well, missing, behind, forgotten, failed}
    states = dict.fromkeys(ready, ("ready", _HEAD))
    assert await house.rows() == {**states, deleting: ("deleted", _HEAD), deleted: ("deleted", _HEAD)}
    for name in ready:
        assert await house.version(name) == _HEAD
    assert not await house.exists(deleting)
    assert not await house.exists(deleted)
    assert (await house.reconcile()).found == {}


async def test_what_no_tenant_ever_had_is_deleted_only_on_demand_and_never_if_it_is_not_ours(
    house: House,
) -> None:
    orphan, foreign = new_database_name(), "somebody-elses"
    for name in (orphan, foreign):
        await house.services.provider.create(name)
    [well] = await house.ready(1)
    done = await house.reconcile()
    if not house.lists:  # nobody can know of them
        assert (done.found, done.left) == ({}, {})
        return
    assert done.left == {Kind.ORPHAN: 1}
    assert house.found(Kind.FOREIGN) == {foreign: False}
    assert await house.exists(orphan)
    assert (await house.reconcile(yes=True, dry_run=True)).left == {Kind.ORPHAN: 1}
    assert (await house.reconcile(yes=True)).is_whole
    assert not await house.exists(orphan)
    assert await house.exists(foreign)
    assert await house.exists(well)


async def test_databases_that_vanished_in_numbers_are_not_made_anew_unasked(house: House) -> None:
    names = await house.ready(12)
    for name in names:
        await house.services.provider.delete(name)
    done = await house.reconcile()
    assert done.left == {Kind.MISSING: 12}
    assert not await house.exists(names[0])
    assert await house.rows() == dict.fromkeys(names, ("ready", _HEAD))
    assert (await house.reconcile(yes=True)).is_whole
    assert await house.version(names[0]) == _HEAD


async def test_a_database_that_refuses_a_migration_is_left_and_the_others_are_not(house: House) -> None:
    broken, behind = await house.ready(2)
    await house.run(broken, *_FALL_BACK, "ALTER TABLE flashcards RENAME TO cards")
    await house.run(behind, *_FALL_BACK)
    done = await house.reconcile()
    assert done.left == {Kind.BEHIND: 1}
    assert house.found(Kind.BEHIND) == {broken: False, behind: True}
    assert "flashcards" in next(each.detail for each in house.findings if not each.is_repaired)


async def test_two_at_once_do_no_harm(house: House) -> None:
    names = await house.ready(4)
    await house.services.provider.delete(names[0])
    await house.run(names[1], *_FALL_BACK)
    await house.change(names[2], state="deleting", due_at_ms=0)
    reconciler = house.services.reconciler
    await asyncio.gather(reconciler.run(Options()), reconciler.run(Options()))
    assert (await house.reconcile()).is_whole
    assert [await house.exists(name) for name in names] == [True, True, False, True]


async def test_tenants_of_another_provider_are_only_counted(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await house.add(1, provider="turso", state="ready", due_at_ms=None)
        done = await house.reconcile()
        assert (done.found, done.is_whole) == ({Kind.ELSEWHERE: 1}, True)


async def test_a_server_that_dies_in_the_middle_of_provisioning_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    with running_sqld() as sqld:
        async with opened(tmp_path, sqld, SQLD_DATA_DIR=str(sqld.folder / "data")) as house:
            names = await house.add(50)
            task = asyncio.create_task(house.services.provisioner.run())
            for _ in range(2):
                before = await _ready_count(house)
                while await _ready_count(house) < before + 5:
                    await asyncio.sleep(0.005)
                sqld.kill()
                await asyncio.sleep(0.05)
                sqld.start()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert (await house.reconcile()).is_whole, house.findings
            assert await house.rows() == dict.fromkeys(names, ("ready", _HEAD))
            assert {path.name for path in (sqld.folder / "data/dbs").iterdir()} == set(names)
            for name in names:
                assert await house.version(name) == _HEAD


async def _ready_count(house: House) -> int:
    return sum(state == "ready" for state, _ in (await house.rows()).values())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path / "service").start()
    yield running
    running.stop()


async def test_the_verb_says_what_it_did_and_whether_anything_is_left(service: Service) -> None:
    async with opened(service.folder) as house:
        missing, _ = await house.ready(2)
        orphan = new_database_name()
        await house.services.provider.create(orphan)
        await house.services.provider.delete(missing)
    looked = service.run("tenants", "reconcile", "--dry-run")
    assert looked.returncode == 1
    assert f"{missing}: its database is not there" in looked.stderr
    assert looked.stdout == "looked at 2 tenants; repaired: nothing; left: 1 orphan, 1 missing\n"
    done = service.run("tenants", "reconcile", "--json")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(each["kind"], each["is_repaired"]) for each in lines[:-1]} >= {
        ("orphan", False),
        ("missing", True),
    }
    assert lines[-1]["left"] == {"orphan": 1}
    done = service.run("tenants", "reconcile", "--yes")
    assert (done.returncode, "left: nothing" in done.stdout) == (0, True)
    assert (
        service.run("tenants", "reconcile").stdout
        == "looked at 2 tenants; repaired: nothing; left: nothing\n"
    )
