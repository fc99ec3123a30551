"""`reconcile` on real providers: whatever became of the databases, or of their rows, it makes them agree."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from testbed.servers import Service
from testbed.sqld import Sqld, running_sqld

from freehold.tenants.findings import Kind
from freehold.tenants.names import new_database_name
from freehold.tenants.reconcile import Options
from tests.support.house import FALL_BACK, HEAD, House, opened

_FAR_MS = 9_999_999_999_999


@pytest.fixture(params=["local", "sqld", "sqld with its folder", "turso"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    with contextlib.ExitStack() as stack:
        server: Sqld | None = None
        more = {}
        if request.param == "sqld":
            server = request.getfixturevalue("sqld")
        elif request.param == "turso":
            request.getfixturevalue("twin").clear()
            more = request.getfixturevalue("twin").variables
        elif request.param != "local":
            server = stack.enter_context(running_sqld())
            more = {"SQLD_DATA_DIR": str(server.folder / "data")}
        async with opened(tmp_path, server, **more) as running:
            yield running


async def test_an_installation_in_order_is_left_alone(house: House) -> None:
    names = await house.ready(3)
    done = await house.reconcile()
    assert (done.checked, done.found, done.left, done.is_whole) == (3, {}, {}, True)
    assert await house.rows() == dict.fromkeys(names, ("ready", HEAD))


async def test_whatever_differs_is_told_first_and_repaired_then(house: House) -> None:
    provider = house.services.provider
    well, missing, behind, forgotten, deleting, deleted = await house.ready(6)
    [failed] = await house.add(1, state="failed", error="the disk was full", attempts=7, due_at_ms=_FAR_MS)
    await provider.delete(missing)
    await house.run(behind, *FALL_BACK)
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
    states = dict.fromkeys(ready, ("ready", HEAD))
    assert await house.rows() == {**states, deleting: ("deleted", HEAD), deleted: ("deleted", HEAD)}
    for name in ready:
        assert await house.version(name) == HEAD
    assert not await house.exists(deleting)
    assert not await house.exists(deleted)
    assert (await house.reconcile()).found == {}


async def test_what_no_tenant_ever_had_is_deleted_only_on_demand_and_never_if_it_is_not_ours(house: House) -> None:
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


async def test_the_central_database_beside_the_tenants_is_nobody_elses(tmp_path: Path) -> None:
    with running_sqld() as server:
        beside = {"DATABASE_URL": f"{server.url}/?namespace=users", "SQLD_DATA_DIR": str(server.folder / "data")}
        async with opened(tmp_path, server, **beside) as house:
            # As a move to a file would leave it.
            await house.services.provider.create("central")
            await house.services.provider.create("somebody-elses")
            done = await house.reconcile()
    assert house.found(Kind.FOREIGN) == {"somebody-elses": False}
    assert done.left == {}


async def test_databases_that_vanished_in_numbers_are_not_made_anew_unasked(house: House) -> None:
    names = await house.ready(12)
    for name in names:
        await house.services.provider.delete(name)
    done = await house.reconcile()
    assert done.left == {Kind.MISSING: 12}
    assert not await house.exists(names[0])
    assert await house.rows() == dict.fromkeys(names, ("ready", HEAD))
    assert (await house.reconcile(yes=True)).is_whole
    assert await house.version(names[0]) == HEAD


async def test_a_database_that_refuses_a_migration_is_left_and_the_others_are_not(house: House) -> None:
    broken, behind = await house.ready(2)
    await house.run(broken, *FALL_BACK, "ALTER TABLE flashcards RENAME TO cards")
    await house.run(behind, *FALL_BACK)
    done = await house.reconcile()
    assert done.left == {Kind.BEHIND: 1}
    assert house.found(Kind.BEHIND) == {broken: False, behind: True}
    assert "flashcards" in next(each.detail for each in house.findings if not each.is_repaired)


async def test_two_at_once_do_no_harm(house: House) -> None:
    names = await house.ready(4)
    await house.services.provider.delete(names[0])
    await house.run(names[1], *FALL_BACK)
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


async def test_a_server_that_dies_in_the_middle_of_provisioning_loses_and_doubles_nothing(tmp_path: Path) -> None:
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
            assert await house.rows() == dict.fromkeys(names, ("ready", HEAD))
            assert {path.name for path in (sqld.folder / "data/dbs").iterdir()} == set(names)
            for name in names:
                assert await house.version(name) == HEAD


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
    assert {(each["kind"], each["is_repaired"]) for each in lines[:-1]} >= {("orphan", False), ("missing", True)}
    assert lines[-1]["left"] == {"orphan": 1}
    done = service.run("tenants", "reconcile", "--yes")
    assert (done.returncode, "left: nothing" in done.stdout) == (0, True)
    assert service.run("tenants", "reconcile").stdout == "looked at 2 tenants; repaired: nothing; left: nothing\n"
