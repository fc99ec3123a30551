"""Databases that sqld does not open after a power failure, opened again with every row that was acknowledged.

What a power failure leaves is made by `kill -9`, after which files that sqld does not sync are cut or overwritten.
"""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from testbed.sqld import Sqld, running_sqld

from freehold.audit.types import Filter
from freehold.errors import ProviderUnavailable
from freehold.providers.sqld.process.log_files import DatabaseInUse, LogFiles
from freehold.tenants.drift import Checked
from freehold.tenants.errors import DatabaseDamaged
from freehold.tenants.repair import Repair, Repaired
from freehold.tenants.types import Tenant
from tests.support.house import House, opened

_FRAME_BYTES = 4096 + 24
_ROWS = 40

Damage = Callable[[Path], object]


def cut(to: Callable[[int], int]) -> Damage:
    """The log as long as `to` says of its size."""
    return lambda folder: os.truncate(folder / "wallog", to((folder / "wallog").stat().st_size))


def overwritten(file: str, content: Callable[[bytes], bytes]) -> Damage:
    return lambda folder: (folder / file).write_bytes(content((folder / file).read_bytes()))


DAMAGES = {
    "cut by a byte": cut(lambda size: size - 1),
    "cut by a frame": cut(lambda size: size - _FRAME_BYTES),
    "cut by frames and a half": cut(lambda size: size - 5 * _FRAME_BYTES // 2),
    "cut after its first frame": cut(lambda _: 64 + _FRAME_BYTES),
    "cut after its head": cut(lambda _: 64),
    "cut in its head": cut(lambda _: 37),
    "cut to a byte": cut(lambda _: 1),
    "its head is zeros": overwritten("wallog", lambda old: bytes(64) + old[64:]),
    "all of it is zeros": overwritten("wallog", lambda old: bytes(len(old))),
    "its head counts too many frames": overwritten(
        "wallog", lambda old: old[:40] + (10**6).to_bytes(8, "little") + old[48:]
    ),
    "its statistics are empty": overwritten("stats.json", lambda _: b""),
    "its statistics are cut": overwritten("stats.json", lambda old: old[:-9]),
    "its statistics are zeros": overwritten("stats.json", lambda old: bytes(len(old))),
}


@pytest.fixture
def sqld() -> Iterator[Sqld]:
    with running_sqld() as running:
        yield running


@pytest.fixture
async def house(sqld: Sqld, tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path, sqld, SQLD_DATA_DIR=str(sqld.folder / "data")) as running:
        yield running


def _folder(sqld: Sqld, name: str) -> Path:
    return sqld.folder / "data/dbs" / name


def _repair(house: House) -> Repair:
    assert house.services.repair is not None
    return house.services.repair


async def _filled(house: House, count: int) -> list[str]:
    """Databases with rows, each acknowledged."""
    names = await house.ready(count)
    for name in names:
        await house.run(name, "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)")
        for number in range(_ROWS):
            await house.run(name, f"INSERT INTO notes (body) VALUES ('{name} {number}')")
    return names


async def _started(house: House, sqld: Sqld) -> None:
    """Start it, and let go of connections to the one before."""
    sqld.start()
    for _ in range(100):
        try:
            await house.services.provider.check()
        except ProviderUnavailable:
            await asyncio.sleep(0.02)
        else:
            return
    pytest.fail("sqld does not answer")


async def _rows(house: House, name: str) -> int:
    [[count]] = await house.rows_of(name, "SELECT count(*) FROM notes WHERE body LIKE '" + name + " %'")
    return int(count)


async def _all_broken(house: House, **options: bool) -> dict[str, Repaired]:
    tenants = [tenant async for tenant in _repair(house).broken(house.services.listing.each())]
    return {tenant.database_name: await _repair(house).run(tenant, **options) for tenant in tenants}


async def test_every_way_in_which_the_files_were_damaged_is_repaired_and_no_row_is_lost(
    house: House, sqld: Sqld
) -> None:
    names = await _filled(house, len(DAMAGES) + 2)
    damaged, well = dict(zip(names, DAMAGES, strict=False)), names[len(DAMAGES) :]
    sqld.kill()
    for name, how in damaged.items():
        DAMAGES[how](_folder(sqld, name))
    await _started(house, sqld)
    for name, how in damaged.items():
        with pytest.raises(DatabaseDamaged):
            await _rows(house, name)
            pytest.fail(how)
    told = await _all_broken(house, dry_run=True)
    assert told.keys() == damaged.keys()
    assert {each.outcome for each in told.values()} == {"would_repair"}
    done = await _all_broken(house)
    for name, how in damaged.items():
        each = done[name]
        file = "stats.json" if "statistics" in how else "wallog"
        # `notes` is not of the registry, so the schema is told to be another one than the version's.
        assert (each.outcome, [*each.findings][1:]) == ("repaired", []), (how, each)
        assert "notes" in each.findings[0]
        assert each.rows == each.rows_before, how
        assert [kept.partition(".damaged-")[0] for kept in each.set_aside] == [file]
        assert all((_folder(sqld, name) / kept).exists() for kept in each.set_aside)
        assert await _rows(house, name) == _ROWS
        await house.run(name, "INSERT INTO notes (body) VALUES ('again')")
    for name in well:
        assert await _rows(house, name) == _ROWS
        assert not list(_folder(sqld, name).glob("*.damaged*"))
    assert await _all_broken(house) == {}
    assert house.services.damaged() == {}
    for _ in range(2):  # what was repaired stays so
        sqld.kill()
        await _started(house, sqld)
        for name in names:
            assert await _rows(house, name) == _ROWS


async def test_it_is_in_the_audit_trail(house: House, sqld: Sqld) -> None:
    [name] = await house.ready(1)
    sqld.kill()
    DAMAGES["cut by a frame"](_folder(sqld, name))
    await _started(house, sqld)
    [done] = (await _all_broken(house)).values()
    assert done.is_well, done
    target = Filter(target=f"tenant:{done.tenant.tenant_id}")
    entries = await house.services.audit.newest(matching=target)
    repaired, started = entries[:2]
    assert (started.action, started.facts["file"]) == ("tenant.repair_started", "wallog")
    assert repaired.action == "tenant.repaired"
    assert repaired.facts["outcome"] == "repaired"
    assert repaired.facts["rows"] == repaired.facts["rows_before"] == done.rows
    assert repaired.facts["set_aside"] == done.set_aside[0]
    assert (await house.services.audit.verify()).is_whole
    again = await _repair(house).run(done.tenant)
    assert (again.outcome, again.is_well, again.rows) == ("sound", True, done.rows)
    assert len(await house.services.audit.newest(matching=target)) == len(entries)


async def test_both_files_may_be_damaged_at_once(house: House, sqld: Sqld) -> None:
    [name] = await _filled(house, 1)
    sqld.kill()
    DAMAGES["cut in its head"](_folder(sqld, name))
    DAMAGES["its statistics are zeros"](_folder(sqld, name))
    await _started(house, sqld)
    [done] = (await _all_broken(house)).values()
    assert done.outcome == "repaired"
    assert [kept.partition(".damaged-")[0] for kept in done.set_aside] in (
        ["wallog", "stats.json"],
        ["stats.json", "wallog"],
    )
    assert await _rows(house, name) == _ROWS


async def test_while_sqld_is_down_the_files_themselves_tell(house: House, sqld: Sqld) -> None:
    first, second, well = await _filled(house, 3)
    sqld.kill()
    DAMAGES["cut by frames and a half"](_folder(sqld, first))
    DAMAGES["its statistics are cut"](_folder(sqld, second))
    with pytest.raises(ProviderUnavailable):
        await _rows(house, well)
    done = await _all_broken(house)
    assert done.keys() == {first, second}
    for each in done.values():
        assert (each.outcome, each.findings) == ("set_aside", ())
        assert each.rows_before is not None
        assert each.rows_before > _ROWS
    await _started(house, sqld)
    for name in (first, second, well):
        assert await _rows(house, name) == _ROWS
        tenant = await house.services.lifecycle.find(name)
        assert (await _repair(house).run(tenant)).outcome == "sound"


@pytest.mark.parametrize("is_running", [True, False], ids=["sqld runs", "sqld is down"])
async def test_of_several_repairs_at_once_one_does_it(house: House, sqld: Sqld, is_running: bool) -> None:
    """The others do not set aside what sqld has just made."""
    [name] = await _filled(house, 1)
    sqld.kill()
    DAMAGES["cut by a frame"](_folder(sqld, name))
    if is_running:
        await _started(house, sqld)
    tenant = await house.services.lifecycle.find(name)
    done = await asyncio.gather(*(_repair(house).run(tenant) for _ in range(4)))
    wanted = ["repaired" if is_running else "set_aside", "sound", "sound", "sound"]
    assert sorted(each.outcome for each in done) == sorted(wanted)
    assert len(list(_folder(sqld, name).glob("wallog.damaged-*"))) == 1
    if not is_running:
        await _started(house, sqld)
    assert await _rows(house, name) == _ROWS


async def test_a_database_that_somebody_has_open_is_not_touched(house: House, sqld: Sqld, tmp_path: Path) -> None:
    [name] = await _filled(house, 1)
    files = LogFiles(sqld.folder / "data")
    with pytest.raises(DatabaseInUse, match="stop it"):
        await files.set_aside(name, "wallog")
    with pytest.raises(DatabaseInUse):
        await files.copy(name, tmp_path)
    assert await _rows(house, name) == _ROWS
    sqld.stop()
    with (
        (_folder(sqld, name) / "wallog").open("rb"),  # as a backup program may
        pytest.raises(DatabaseInUse, match=f"process {os.getpid()}"),
    ):
        await files.set_aside(name, "wallog")
    assert (await files.set_aside(name, "wallog")).startswith("wallog.damaged-")
    await _started(house, sqld)
    assert await _rows(house, name) == _ROWS


async def test_the_files_of_databases_that_are_written_to_do_not_look_damaged(house: House, sqld: Sqld) -> None:
    names = await _filled(house, 3)
    files = LogFiles(sqld.folder / "data")
    looks = 0

    async def write(name: str) -> None:
        for _ in range(60):
            await house.run(name, "INSERT INTO notes (body) VALUES (hex(randomblob(9000)))")

    writing = asyncio.gather(*(write(name) for name in names))
    while not writing.done():
        assert await files.damaged() == []
        looks += 1
        await asyncio.sleep(0)
    await writing
    assert looks > 5


async def test_what_lasts_although_the_file_is_aside_is_told(house: House, sqld: Sqld) -> None:
    """As a disk that fails: the log is there again, and cannot be read."""
    [name] = await _filled(house, 1)
    sqld.kill()
    DAMAGES["cut by a byte"](_folder(sqld, name))
    await _started(house, sqld)
    repair = _repair(house)

    class Again(LogFiles):
        async def set_aside(self, database_name: str, file: str) -> str:
            kept = await super().set_aside(database_name, file)
            shutil.copyfile(_folder(sqld, name) / kept, _folder(sqld, name) / file)
            return kept

    files = Again(sqld.folder / "data")
    stubborn = Repair(
        provider=repair.provider, files=files, open_file=repair.open_file, check=repair.check, record=repair.record
    )
    tenant = await house.services.lifecycle.find(name)
    done = await stubborn.run(tenant)
    assert (done.outcome, done.is_well) == ("failed", False)
    assert "restore it from an export or a backup" in done.findings[-1]
    assert (await repair.run(tenant)).outcome == "repaired"
    assert await _rows(house, name) == _ROWS


async def test_lost_rows_and_another_schema_would_be_told(house: House, sqld: Sqld) -> None:
    """Were a file of the data set aside, say: the counts before and after do not agree then."""
    [name] = await _filled(house, 1)
    sqld.kill()
    DAMAGES["cut by a byte"](_folder(sqld, name))
    await _started(house, sqld)
    repair = _repair(house)

    async def check(tenant: Tenant) -> Checked:
        return Checked(tenant=tenant, verdict="drifted", version=3, reasons=("no index",))

    class Careless(LogFiles):
        async def set_aside(self, database_name: str, file: str) -> str:
            (_folder(sqld, name) / "data-wal").unlink()
            return await super().set_aside(database_name, file)

    careless = Repair(
        provider=repair.provider,
        files=Careless(sqld.folder / "data"),
        open_file=repair.open_file,
        check=check,
        record=repair.record,
    )
    done = await careless.run(await house.services.lifecycle.find(name))
    assert not done.is_well
    text = " ".join(done.findings)
    assert "rows and has" in text or "cannot be read" in text
    if done.rows is not None:
        assert "no index" in text


async def test_a_suspended_database_is_repaired_and_stays_suspended(house: House, sqld: Sqld) -> None:
    [name] = await _filled(house, 1)
    await house.services.lifecycle.suspend(name, "unpaid")
    sqld.kill()
    DAMAGES["cut by a frame"](_folder(sqld, name))
    await _started(house, sqld)
    [done] = (await _all_broken(house)).values()
    assert (done.outcome, done.is_well) == ("repaired", True)
    found = await house.services.provider.find(name)
    assert found is not None
    assert found.is_suspended
    await house.services.provider.resume(name)
    assert await _rows(house, name) == _ROWS


async def test_one_among_very_many_is_found(house: House, sqld: Sqld) -> None:
    names = await house.add(600)
    assert not await house.services.provisioner.drain()
    sqld.kill()
    DAMAGES["cut by a frame"](_folder(sqld, names[300]))
    await _started(house, sqld)
    done = await _all_broken(house)
    assert done.keys() == {names[300]}
    assert done[names[300]].is_well


async def test_those_that_look_damaged_are_known_before_anybody_calls_them(house: House, sqld: Sqld) -> None:
    first, second = await house.ready(2)
    sqld.kill()
    DAMAGES["cut by a frame"](_folder(sqld, first))
    await _started(house, sqld)
    async with opened(
        sqld.folder / "other", sqld, SQLD_DATA_DIR=str(sqld.folder / "data"), DATABASE_URL=_central(house)
    ) as restarted:
        await restarted.services.provider.check()
        for _ in range(200):
            if restarted.services.damaged():
                break
            await asyncio.sleep(0.05)
        assert restarted.services.damaged() == {first: "failed to fill whole buffer"}
        verdicts = {
            each.tenant.database_name: each
            async for each in restarted.services.drift.run(restarted.services.listing.each())
        }
        assert verdicts[second].verdict == "same"
        assert verdicts[first].verdict == "damaged"
        assert "freehold tenants repair" in verdicts[first].reasons[0]
        await _all_broken(restarted)
        for _ in range(200):  # told to be well again although nobody called it
            await restarted.services.provider.check()
            if not restarted.services.damaged():
                break
            await asyncio.sleep(0.05)
        assert restarted.services.damaged() == {}


def _central(house: House) -> str:
    return f"sqlite:///{house.services.settings.central_file}"


async def test_a_damaged_database_can_be_deleted(house: House, sqld: Sqld) -> None:
    [name] = await house.ready(1)
    sqld.kill()
    DAMAGES["cut by a frame"](_folder(sqld, name))
    await _started(house, sqld)
    await house.services.lifecycle.delete(name)
    assert not _folder(sqld, name).exists()
    assert json.dumps(house.services.damaged()) == "{}"
