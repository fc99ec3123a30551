"""Databases that wait for a tenant: each is given once, and never one that is not what it should be."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from testbed.sqld import running_sqld

from freehold.central.tables import unowned_database
from freehold.tenants.names import is_ours, new_database_name
from freehold.tenants.pool import SchemaKey
from freehold.tenants.types import TenantState
from tests.support.house import FALL_BACK, HEAD, House, central_on, opened

_SIZE = 3
_NEXT = "-- description: One more table\nCREATE TABLE one_more (x TEXT);\n"


@pytest.fixture(params=["local", "sqld", "turso"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    if request.param == "local":
        async with opened(tmp_path, TENANT_POOL_SIZE=str(_SIZE)) as running:
            yield running
        return
    if request.param == "turso":
        request.getfixturevalue("twin").clear()
        variables = request.getfixturevalue("twin").variables
        async with opened(tmp_path, TENANT_POOL_SIZE=str(_SIZE), **variables) as running:
            yield running
        return
    with running_sqld() as sqld:
        more = {
            "TENANT_POOL_SIZE": str(_SIZE),
            "SQLD_DATA_DIR": str(sqld.folder / "data"),
            "DATABASE_URL": central_on(sqld),
        }
        async with opened(tmp_path, sqld, **more) as running:
            yield running


async def fill(house: House) -> set[str]:
    pool = house.services.pool
    assert pool is not None
    while await pool.refill():
        pass
    return await waiting(house)


async def waiting(house: House, state: str = "waiting") -> set[str]:
    wanted = select(unowned_database.c.name).where(unowned_database.c.state == state)
    async with house.services.central.read() as db:
        return set((await db.execute(wanted)).scalars())


async def all_names(house: House) -> set[str]:
    pages = house.services.provider.names()
    assert pages is not None
    return {name async for page in pages for name in page if is_ours(name)}


async def tidy(house: House) -> None:
    async with house.services.central.write() as db:
        await db.execute(unowned_database.update().where(unowned_database.c.state == "discarded").values(due_at_ms=0))
    await house.services.operations_worker.drain()


async def test_the_pool_is_filled_claimed_and_filled_again(house: House) -> None:
    made = await fill(house)
    assert len(made) == _SIZE
    assert await fill(house) == made
    await house.ready(2)
    given = set(await house.rows())
    assert given < made
    for name in given:
        assert await house.version(name) == HEAD
    assert len(await fill(house)) == _SIZE
    await tidy(house)
    assert await waiting(house, "discarded") == set()
    assert await all_names(house) == given | await waiting(house)
    assert (await house.reconcile(yes=True)).is_whole


async def test_more_sign_ups_than_databases_get_one_each(house: House) -> None:
    made = await fill(house)
    await house.add(4 * _SIZE)
    assert not await house.services.provisioner.drain()
    names = set(await house.rows())
    assert len(names) == 4 * _SIZE
    assert made < names
    await tidy(house)
    assert await all_names(house) == names


async def test_two_fillers_at_once_do_not_overfill(house: House) -> None:
    pool = house.services.pool
    assert pool is not None
    await asyncio.gather(*(pool.refill() for _ in range(4)))
    async with house.services.central.read() as db:
        count = (await db.execute(select(func.count()).select_from(unowned_database))).scalar_one()
    assert count == len(await waiting(house)) == _SIZE


async def test_none_at_an_old_version_is_given(house: House) -> None:
    old = await fill(house)
    await house.services.registry.register(_NEXT, "One more table")
    [name] = await house.ready(1)
    assert await house.version((await house.services.lifecycle.find(name)).database_name) == HEAD + 1
    assert not old & set(await house.rows())
    new = await fill(house)
    assert not old & new
    for each in new:
        assert await house.version(each) == HEAD + 1
    await tidy(house)
    assert not old & await all_names(house)


@pytest.mark.parametrize("harm", [FALL_BACK, ("CREATE TABLE somebody_elses (x)",), ("DROP TABLE freehold_ledger",), ()])
async def test_none_that_was_changed_or_is_gone_is_given(house: House, harm: tuple[str, ...]) -> None:
    made = await fill(house)
    for name in made:
        if harm:
            await house.run(name, *harm)
        else:
            await house.services.provider.delete(name)
    await house.ready(1)
    [(name, (state, version))] = (await house.rows()).items()
    assert name not in made
    assert (state, version) == (TenantState.READY.value, HEAD)
    assert await house.version(name) == HEAD
    await tidy(house)
    assert await all_names(house) == {name} | await waiting(house)


async def test_what_a_killed_process_was_making_or_had_claimed_is_thrown_away(house: House) -> None:
    made = await fill(house)
    pool = house.services.pool
    assert pool is not None
    snapshot = await pool.snapshot()
    assert snapshot is not None
    shape = SchemaKey(snapshot.version, snapshot.chain, snapshot.fingerprint)
    half_made = new_database_name()
    claimed = await pool.store.claim(house.provider, shape, "tenant-of-the-killed", 0)
    assert claimed in made
    assert await pool.store.reserve(half_made, house.provider, shape, size=_SIZE, until_ms=0)
    await house.services.provider.create(half_made)
    await house.services.operations_worker.drain()
    assert await all_names(house) == await waiting(house) == made - {claimed}
    assert len(await fill(house)) == _SIZE


async def test_of_two_that_claim_at_once_each_gets_another(house: House) -> None:
    made = await fill(house)
    pool = house.services.pool
    assert pool is not None
    tenants = await house.add(2 * _SIZE)
    found = [await house.services.lifecycle.find(name) for name in tenants]
    taken = await asyncio.gather(*(pool.take(tenant) for tenant in found))
    assert sorted(name for name in taken if name) == sorted(made)
    assert not await pool.take(found[0])


async def test_without_the_setting_there_is_no_pool(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        assert house.services.pool is None
