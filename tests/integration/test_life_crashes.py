"""Real processes that are killed at each step of deleting and restoring, and what tidies up after them."""

import asyncio
import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest
from sqlalchemy import select

from freehold.central.tables import unowned_database, user
from freehold.tenants.types import TenantState
from tests.simulators.life_process import DELETE_STEPS, RESTORE_STEPS, live_until_killed
from tests.support.house import HEAD, House, opened

_LIMIT_S = 30.0
_WORDS = "SELECT word FROM dictionary_entries ORDER BY word"

# Children are forked from a server that has everything imported, and that has no thread and no event loop.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.simulators.life_process"])


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """An installation with two tenants, and an export of the first; tests work on copies. Its id and database."""
    folder = tmp_path_factory.mktemp("furnished")

    async def make() -> tuple[Path, str, str]:
        async with opened(folder) as house:
            first, _ = await house.ready(2)
            await write(house, first, "before")
            await house.services.lifecycle.export(first, folder / "file.db")
            await write(house, first, "later")
            return folder, (await house.services.lifecycle.find(first)).tenant_id, first

    return asyncio.run(make())


async def write(house: House, name: str, word: str) -> None:
    await house.run(
        name,
        f"""INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at)
        VALUES ('{word}', '{word}', 'x', 'noun', 1, 1)""",
    )


@pytest.fixture
def folder(furnished: tuple[Path, str, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(furnished[0], tmp_path / "house"))


@pytest.fixture
def names(furnished: tuple[Path, str, str]) -> tuple[str, str]:
    """Id and database of the first tenant."""
    return furnished[1], furnished[2]


def kill_at(folder: Path, what: str, tenant_id: str, step: str) -> None:
    child = _processes.Process(
        target=live_until_killed, args=(str(folder), what, tenant_id, str(folder / "file.db"), step)
    )
    child.start()
    child.join(_LIMIT_S)
    assert child.exitcode == -signal.SIGKILL, child.exitcode


async def tidied(house: House) -> set[str]:
    """All leases run out, and the service does its work; gives the databases that are there."""
    async with house.services.central.write() as db:
        await db.execute(unowned_database.update().values(due_at_ms=0))
    for name, (state, _) in (await house.rows()).items():
        if state == "deleting":
            await house.change(name, due_at_ms=0)
    assert all(done.error is None for done in await house.services.operations_worker.drain())
    async with house.services.central.read() as db:
        assert (await db.execute(select(unowned_database))).all() == []
    pages = house.services.provider.names()
    assert pages is not None
    return {name async for page in pages for name in page}


@pytest.mark.parametrize("step", DELETE_STEPS)
async def test_a_deletion_that_was_killed_is_seen_through(folder: Path, names: tuple[str, str], step: str) -> None:
    tenant_id, name = names
    await asyncio.to_thread(kill_at, folder, "delete", tenant_id, step)
    async with opened(folder) as house:
        if step == "before delete":
            assert (await house.rows())[name][0] == "ready"
            await house.services.lifecycle.delete(tenant_id)
        there = await tidied(house)
        assert name not in there
        assert (await house.rows())[name][0] == "deleted"
        receipts = [entry async for entry in house.services.audit.each() if entry.action == "tenant.deleted"]
        assert [entry.target for entry in receipts] == [f"tenant:{tenant_id}"]
        assert (await house.reconcile(yes=True)).found == {}
        assert (await house.services.audit.verify()).broken_at is None


@pytest.mark.parametrize("step", RESTORE_STEPS)
async def test_a_restore_that_was_killed_leaves_the_old_database_or_the_new_one_and_no_other(
    folder: Path, names: tuple[str, str], step: str
) -> None:
    tenant_id, name = names
    await asyncio.to_thread(kill_at, folder, "restore", tenant_id, step)
    is_done = RESTORE_STEPS.index(step) >= RESTORE_STEPS.index("after replace")
    async with opened(folder) as house:
        there = await tidied(house)
        now = (await house.services.lifecycle.find(tenant_id)).database_name
        assert (now != name) == is_done
        words = [["before"]] if is_done else [["before"], ["later"]]
        assert await house.rows_of(now, _WORDS) == words
        assert there == set(await house.rows())
        assert (await house.reconcile(yes=True)).found == {}
        if not is_done:
            restored = await house.services.lifecycle.restore(tenant_id, folder / "file.db")
            assert restored.tenant.schema_version == HEAD
            assert await house.rows_of(restored.tenant.database_name, _WORDS) == [["before"]]
            assert await tidied(house) == set(await house.rows())


@pytest.mark.parametrize(
    ("what", "step"),
    [
        ("create", "before create"),
        ("create", "after create"),
        ("restore", "before rows"),
        ("restore", "before replace"),
        ("restore", "after replace"),
    ],
)
async def test_a_deleted_tenant_that_gets_a_database_again_has_one_or_none_whenever_it_is_killed(
    folder: Path, names: tuple[str, str], what: str, step: str
) -> None:
    tenant_id, name = names
    async with opened(folder) as house:
        await house.services.lifecycle.delete(tenant_id)
        user_id = (await house.services.lifecycle.find(tenant_id)).user_id
        async with house.services.central.write() as db:  # those of this house are nobody's else
            await db.execute(
                user.insert().values(
                    id=user_id, name="ada", email="a@b.example", emailVerified=0, createdAt="", updatedAt=""
                )
            )
    await asyncio.to_thread(kill_at, folder, what, tenant_id, step)
    async with opened(folder) as house:
        there = await tidied(house)
        state = (await house.services.lifecycle.find(tenant_id)).state
        expected = {"after create": TenantState.PROVISIONING, "after replace": TenantState.READY}
        assert state is expected.get(step, TenantState.DELETED)
        assert name not in there
        life = house.services.lifecycle
        if what == "create":
            await house.services.provisioner.one(await life.create(tenant_id))
        elif step != "after replace":
            await life.restore(tenant_id, folder / "file.db")
        now = await life.find(tenant_id)
        assert (now.state, now.schema_version) == (TenantState.READY, HEAD)
        words = [] if what == "create" else [["before"]]
        assert await house.rows_of(now.database_name, _WORDS) == words
        living = {each for each, (state, _) in (await house.rows()).items() if state == "ready"}
        assert await tidied(house) == living
        assert (await house.reconcile(yes=True)).found == {}
