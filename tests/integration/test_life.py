"""A tenant's whole life, on files, on a real sqld and on the local twin of Turso."""

import contextlib
import dataclasses
import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from testbed.sqld import Sqld, running_sqld
from testbed.twin import Twin

from freehold.audit.types import Entry
from freehold.auth.types import Client, NewUser
from freehold.central.tables import tenant, unowned_database
from freehold.dates import utc_now
from freehold.errors import InvalidInput, NotFound, ProviderUnavailable
from freehold.migrate.ledger import LEDGER_TABLE
from freehold.tenants.backup import BadBackup
from freehold.tenants.errors import DatabaseDeleted, DatabaseDeleting, DatabaseSuspended, NoPointInTime
from freehold.tenants.lifecycle import WrongState
from freehold.tenants.provisioner import Provisioner
from freehold.tenants.types import ReadyDatabase, Tenant, TenantState
from tests.simulators.turso_past import past_of
from tests.support.house import FALL_BACK, HEAD, House, central_on, opened

_WORD = """INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at)
VALUES ('{0}', '{0}', 'x', 'noun', 1, 1)"""
_WORDS = "SELECT word FROM dictionary_entries ORDER BY word"


@pytest.fixture(params=["local", "sqld", "turso"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    server: Sqld | None = request.getfixturevalue("sqld") if request.param == "sqld" else None
    more = {} if server is None else {"DATABASE_URL": central_on(server)}  # all of it on one server
    if request.param == "turso":
        request.getfixturevalue("twin").clear()
        more = request.getfixturevalue("twin").variables
    async with opened(tmp_path, server, **more) as running:
        yield running


@pytest.fixture
async def mine(house: House) -> Tenant:
    """A person's tenant, with a word in it."""
    return await signed_up(house, "ada")


async def signed_up(house: House, who: str) -> Tenant:
    new = NewUser(name=who, email=f"{who}@example.com", password="correct-horse-1")
    signed_in = await house.services.auth.sign_up(new, Client(ip_address="", user_agent=""))
    assert not await house.services.provisioner.drain()
    found = await house.services.lifecycle.find(signed_in.user.user_id)
    await house.run(found.database_name, _WORD.format(who))
    return found


async def trail(house: House, about: Tenant) -> list[str]:
    entries: list[Entry] = [entry async for entry in house.services.audit.each()]
    return [entry.action for entry in entries if entry.target == f"tenant:{about.tenant_id}"]


async def unowned(house: House) -> list[Any]:
    async with house.services.central.read() as db:
        return list((await db.execute(select(unowned_database.c.name, unowned_database.c.state))).all())


async def credentials(house: House, about: Tenant) -> ReadyDatabase:
    found = await house.services.tenants.database_of(about.user_id, "session")
    assert isinstance(found, ReadyDatabase)
    return found


# Found --------------------------------------------------------------------------------------------------


async def test_a_tenant_is_found_by_all_of_its_names(house: House, mine: Tenant) -> None:
    for reference in (mine.tenant_id, mine.user_id, mine.database_name, "ada@example.com", "Ada@Example.com"):
        assert await house.services.lifecycle.find(reference) == mine
    with pytest.raises(NotFound):
        await house.services.lifecycle.find("nobody")


# Suspended ----------------------------------------------------------------------------------------------


async def test_a_suspended_tenant_is_refused_here_and_by_the_engine_until_it_is_resumed(
    house: House, mine: Tenant
) -> None:
    life = house.services.lifecycle
    suspended = await life.suspend("ada@example.com", "unpaid")
    assert (suspended.state, suspended.error) == (TenantState.SUSPENDED, "unpaid")
    with pytest.raises(DatabaseSuspended):
        await credentials(house, mine)
    with pytest.raises(AssertionError, match="BLOCKED"):
        await house.run(mine.database_name, _WORD.format("more"))
    assert (await life.suspend(mine.tenant_id, "still unpaid")).error == "still unpaid"
    with pytest.raises(WrongState):
        await life.migrate(mine.tenant_id)
    resumed = await life.resume(mine.tenant_id)
    assert (resumed.state, resumed.error) == (TenantState.READY, None)
    assert await life.resume(mine.tenant_id) == resumed
    await credentials(house, mine)
    assert await house.rows_of(mine.database_name, _WORDS) == [["ada"]]
    assert await trail(house, mine) == ["tenant.suspended", "tenant.suspended", "tenant.resumed"]


async def test_resuming_brings_up_what_was_missed(house: House, mine: Tenant) -> None:
    await house.run(mine.database_name, *FALL_BACK)
    await house.services.lifecycle.suspend(mine.tenant_id)
    assert (await house.services.lifecycle.resume(mine.tenant_id)).schema_version == HEAD
    assert await house.version(mine.database_name) == HEAD


async def test_a_tenant_that_is_suspended_while_the_provider_is_away_is_so_as_soon_as_it_is_back(
    tmp_path: Path,
) -> None:
    with running_sqld() as sqld:
        async with opened(tmp_path, sqld) as house:
            mine = await signed_up(house, "ada")
            sqld.kill()
            with pytest.raises(ProviderUnavailable):
                await house.services.lifecycle.suspend(mine.tenant_id, "unpaid")
            with pytest.raises(DatabaseSuspended):
                await credentials(house, mine)
            sqld.start()
            await house.change(mine.database_name, due_at_ms=0)
            [done] = await house.services.operations_worker.drain()
            assert done.error is None
            with pytest.raises(AssertionError, match="unpaid"):
                await house.run(mine.database_name, "SELECT 1")
            assert await house.services.operations_worker.pending_operations.next_due_ms("sqld") is None


async def test_what_does_not_agree_about_being_suspended_is_repaired(house: House, mine: Tenant) -> None:
    other = await signed_up(house, "bob")
    await house.services.lifecycle.suspend(mine.tenant_id)
    await house.services.provider.resume(mine.database_name)
    await house.services.provider.suspend(other.database_name)
    with pytest.raises(DatabaseSuspended):
        await credentials(house, other)
    assert (await house.reconcile(dry_run=True)).left == {"open": 1, "closed": 1}
    assert (await house.reconcile()).is_whole
    assert (await house.reconcile()).found == {}
    await credentials(house, other)
    with pytest.raises(AssertionError, match="BLOCKED"):
        await house.run(mine.database_name, "SELECT 1")


# Deleted ------------------------------------------------------------------------------------------------


async def test_a_users_database_goes_with_them_and_leaves_a_receipt(house: House, mine: Tenant) -> None:
    theirs = await signed_up(house, "bob")
    await house.services.guests.auth.store.delete_user(mine.user_id, utc_now())
    assert (await house.rows())[mine.database_name][0] == "deleting"
    with pytest.raises(DatabaseDeleting):
        await credentials(house, mine)
    [done] = await house.services.operations_worker.drain()
    assert done.error is None
    assert not await house.exists(mine.database_name)
    assert (await house.rows())[mine.database_name][0] == "deleted"
    assert await trail(house, mine) == ["tenant.deleted"]
    with pytest.raises(DatabaseDeleted):
        await credentials(house, mine)
    assert await house.services.operations_worker.drain() == []
    assert await house.exists(theirs.database_name)


async def test_a_user_whom_another_tool_deletes_leaves_no_database_behind(house: House, mine: Tenant) -> None:
    await house.change(mine.database_name, state="provisioning", due_at_ms=9_999_999_999_999)
    before_ms = int(utc_now().timestamp() * 1000)
    async with house.services.central.write() as db:
        await db.execute(text('DELETE FROM "user"'))
        [(state, due_ms)] = (await db.execute(select(tenant.c.state, tenant.c.due_at_ms))).all()
    assert state == "deleting"
    assert before_ms + 10_000 < due_ms < before_ms + 60_000  # a provisioner may be at work on it


async def test_deleting_is_tried_until_the_provider_confirms_it(tmp_path: Path) -> None:
    with running_sqld() as sqld:
        async with opened(tmp_path, sqld) as house:
            mine = await signed_up(house, "ada")
            sqld.kill()
            [done] = await house.services.lifecycle.delete(mine.tenant_id)
            assert "does not answer" in (done.error or "")
            sqld.start()
            for _ in range(2):
                assert (await house.services.lifecycle.find(mine.tenant_id)).state is TenantState.DELETING
                assert await trail(house, mine) == ["tenant.deletion_started"]
                await house.services.operations_worker.retry_now()
                if not [done for done in await house.services.operations_worker.drain() if done.error]:
                    break
            assert not await house.exists(mine.database_name)
            assert await trail(house, mine) == ["tenant.deletion_started", "tenant.deleted"]


async def test_a_database_that_is_made_after_its_deletion_is_taken_back(house: House, mine: Tenant) -> None:
    await house.change(mine.database_name, state="provisioning", due_at_ms=0)
    [claim] = await house.services.tenants.store.claim_due(house.provider, due_by_ms=1, lease_until_ms=2, limit=1)
    await house.change(mine.database_name, state="deleted", due_at_ms=None)
    await house.services.provider.delete(mine.database_name)
    services = house.services
    provisioner = Provisioner(services.tenants.store, services.provider, services.reconciler.bring_up_to_date)
    await provisioner.one(claim.tenant)
    assert not await house.exists(mine.database_name)


# Forked and exported ------------------------------------------------------------------------------------


async def test_a_fork_is_a_tenant_of_no_user_that_is_kept_like_any_other(house: House, mine: Tenant) -> None:
    await house.services.lifecycle.suspend(mine.tenant_id)
    fork = await house.services.lifecycle.fork(mine.tenant_id)
    assert (fork.state, fork.schema_version) == (TenantState.READY, HEAD)
    assert mine.tenant_id in fork.user_id
    await house.run(fork.database_name, _WORD.format("more"))
    await house.services.lifecycle.resume(mine.tenant_id)
    assert await house.rows_of(mine.database_name, _WORDS) == [["ada"]]
    assert await house.rows_of(fork.database_name, _WORDS) == [["ada"], ["more"]]
    assert (await house.reconcile(yes=True)).found == {}
    assert await unowned(house) == []
    await house.services.lifecycle.delete(fork.tenant_id)
    assert not await house.exists(fork.database_name)


async def test_an_export_can_be_opened_by_anybody(house: House, mine: Tenant, tmp_path: Path) -> None:
    await house.run(mine.database_name, "CREATE TABLE my_own (x)", "INSERT INTO my_own VALUES (1)")
    path = tmp_path / "mine.db"
    await house.services.lifecycle.export(mine.tenant_id, path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute(_WORDS).fetchall() == [("ada",)]
        assert db.execute("SELECT * FROM my_own").fetchall() == [(1,)]
        assert db.execute(f"SELECT max(version) FROM {LEDGER_TABLE}").fetchone() == (HEAD,)
    assert await unowned(house) == []
    assert (await house.reconcile(yes=True)).found == {}
    assert await trail(house, mine) == ["tenant.exported"] or "tenant.database_discarded" in await trail(house, mine)


# Restored -----------------------------------------------------------------------------------------------


@pytest.fixture
async def file(house: House, mine: Tenant, tmp_path: Path) -> Path:
    """An export of `mine`, after which the database went on."""
    path = tmp_path / "file.db"
    await house.services.lifecycle.export(mine.tenant_id, path)
    await house.run(mine.database_name, _WORD.format("later"))
    return path


def changed(path: Path, *statements: str) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for sql in statements:
            db.execute(sql)
    return path


@pytest.mark.parametrize("state", ["ready", "suspended", "failed"])
async def test_a_restored_tenant_has_what_is_in_the_file_and_the_old_database_goes(
    house: House, mine: Tenant, file: Path, state: str
) -> None:
    changed(file, *FALL_BACK, "CREATE TABLE my_own (x)", "INSERT INTO my_own VALUES (1)")
    if state == "suspended":
        await house.services.lifecycle.suspend(mine.tenant_id, "unpaid")
    elif state == "failed":
        await house.change(mine.database_name, state="failed", due_at_ms=9_999_999_999_999)
    done = await house.services.lifecycle.restore(mine.tenant_id, file)
    assert done.checked.schema_version == HEAD - 1
    now = await house.services.lifecycle.find(mine.tenant_id)
    assert now == done.tenant
    assert now.state.value == ("ready" if state == "failed" else state)
    assert now.schema_version == HEAD
    assert now.database_name != mine.database_name
    assert not await house.exists(mine.database_name)
    if state == "suspended":
        with pytest.raises(AssertionError, match=r"unpaid|BLOCKED"):
            await house.run(now.database_name, "SELECT 1")
        await house.services.lifecycle.resume(mine.tenant_id)
    assert await house.rows_of(now.database_name, _WORDS) == [["ada"]]
    assert await house.rows_of(now.database_name, "SELECT * FROM my_own") == [[1]]
    assert await house.version(now.database_name) == HEAD
    assert (await house.reconcile(yes=True)).found == {}
    assert await unowned(house) == []
    assert "tenant.restored" in await trail(house, mine)


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 9] = b"\xff" * (4096 * 6)
    path.write_bytes(content)


BAD: dict[str, Callable[[Path], object]] = {
    "not a database": lambda path: path.write_bytes(b"not a database at all" * 100),
    "damaged": damaged,
    "no ledger": lambda path: changed(path, f"DROP TABLE {LEDGER_TABLE}"),
    "ahead": lambda path: changed(
        path,
        f"""INSERT INTO {LEDGER_TABLE} SELECT version + 1, version, name, checksum, 'x', chain, applied_at
        FROM {LEDGER_TABLE} WHERE version = {HEAD}""",
    ),
    "another history": lambda path: changed(path, f"UPDATE {LEDGER_TABLE} SET chain = 'x' WHERE version = 2"),
    "a gap": lambda path: changed(path, f"DELETE FROM {LEDGER_TABLE} WHERE version = 2"),
    "a changed table": lambda path: changed(path, "ALTER TABLE decks ADD COLUMN mine TEXT"),
    "a missing table": lambda path: changed(path, "DROP TABLE decks"),
}


@pytest.mark.parametrize("house", ["local"], indirect=True)  # no provider is asked
@pytest.mark.parametrize("what", BAD)
async def test_a_file_that_is_not_fit_changes_nothing(house: House, mine: Tenant, file: Path, what: str) -> None:
    BAD[what](file)
    with pytest.raises(BadBackup) as refused:
        await house.services.lifecycle.restore(mine.tenant_id, file)
    assert refused.value.faults
    assert await house.services.lifecycle.find(mine.tenant_id) == mine
    assert await house.rows_of(mine.database_name, _WORDS) == [["ada"], ["later"]]
    assert await unowned(house) == []
    assert (await house.reconcile(yes=True)).found == {}


async def test_a_changed_table_may_be_accepted(house: House, mine: Tenant, file: Path) -> None:
    BAD["a changed table"](file)
    done = await house.services.lifecycle.restore(mine.tenant_id, file, accept_changes=True)
    assert done.checked.changed == ("decks is not as the migrations made it",)
    assert await house.rows_of(done.tenant.database_name, "SELECT count(*) FROM pragma_table_info('decks')") == [[7]]


async def test_a_file_on_which_a_migration_fails_leaves_the_tenant_as_it_was(
    house: House, mine: Tenant, file: Path
) -> None:
    changed(file, *FALL_BACK, "ALTER TABLE flashcards RENAME TO cards")
    with pytest.raises(Exception, match="flashcards"):
        await house.services.lifecycle.restore(mine.tenant_id, file, accept_changes=True)
    assert await house.services.lifecycle.find(mine.tenant_id) == mine
    assert await house.rows_of(mine.database_name, _WORDS) == [["ada"], ["later"]]
    assert await unowned(house) == []


async def test_a_tenant_that_is_deleted_while_it_is_restored_stays_deleted(
    house: House, mine: Tenant, file: Path
) -> None:
    store = house.services.guests.auth.store

    async def deleted(_rows: int) -> None:
        await store.delete_user(mine.user_id, utc_now())

    original = house.services.lifecycle.bring_up_to_date

    async def bring_up_to_date(target: Any) -> int:
        await deleted(0)
        return await original(target)

    life = dataclasses.replace(house.services.lifecycle, bring_up_to_date=bring_up_to_date)
    with pytest.raises(Exception, match="changed meanwhile"):
        await life.restore(mine.tenant_id, file)
    await house.services.operations_worker.drain()
    assert (await house.rows())[mine.database_name][0] == "deleted"
    assert await unowned(house) == []
    assert (await house.reconcile(yes=True)).found == {}


# Deleted, and there again ----------------------------------------------------------------------------------


async def test_a_deleted_tenant_is_restored_from_an_export(house: House, mine: Tenant, file: Path) -> None:
    life = house.services.lifecycle
    old = await credentials(house, mine)
    await life.delete(mine.tenant_id)
    with pytest.raises(DatabaseDeleted):
        await house.services.tenants.database_of(mine.user_id, "session")
    done = await life.restore("ada@example.com", file)
    now = await life.find(mine.user_id)
    assert (now.tenant_id, now.state, now.schema_version) == (mine.tenant_id, TenantState.READY, HEAD)
    assert now == done.tenant
    fresh = await credentials(house, now)
    assert fresh.database.name == now.database_name != old.database.name
    assert await house.rows_of(now.database_name, _WORDS) == [["ada"]]
    assert not await house.exists(mine.database_name)
    assert await unowned(house) == []
    assert (await house.reconcile(yes=True)).found == {}
    assert [each for each in await trail(house, mine) if "discarded" not in each] == [
        "tenant.exported", "tenant.deletion_started", "tenant.deleted", "tenant.restored",
    ]  # fmt: skip


async def test_a_user_whose_database_was_deleted_gets_an_empty_one(house: House, mine: Tenant) -> None:
    life = house.services.lifecycle
    assert await life.create(mine.user_id) == mine  # there is one
    await life.delete(mine.tenant_id)
    made = await life.create("Ada@example.com")
    assert (made.tenant_id, made.state, made.schema_version) == (
        mine.tenant_id, TenantState.PROVISIONING, 0,
    )  # fmt: skip
    assert made.database_name != mine.database_name
    assert await life.create(mine.tenant_id) == made  # not yet, and not twice
    assert await house.services.provisioner.one(made) == HEAD
    now = await life.find(mine.user_id)
    assert (now.state, now.schema_version, now.database_name) == (
        TenantState.READY, HEAD, made.database_name,
    )  # fmt: skip
    assert await house.rows_of(now.database_name, _WORDS) == []
    assert (await credentials(house, now)).database.name == made.database_name
    assert not await house.exists(mine.database_name)
    assert (await house.reconcile(yes=True)).found == {}
    assert (await trail(house, mine))[-3:] == ["tenant.deletion_started", "tenant.deleted", "tenant.created"]
    await life.suspend(mine.tenant_id)
    with pytest.raises(WrongState, match="suspended"):
        await life.create(mine.user_id)


async def test_nobody_gets_a_database_for_a_user_who_is_gone(house: House, mine: Tenant, file: Path) -> None:
    await house.services.guests.auth.store.delete_user(mine.user_id, utc_now())
    await house.services.operations_worker.drain()
    for reference in (mine.user_id, mine.tenant_id, mine.database_name, "nobody@example.com"):
        with pytest.raises(NotFound, match="no user"):
            await house.services.lifecycle.create(reference)
    with pytest.raises(NotFound, match="no user"):
        await house.services.lifecycle.restore(mine.tenant_id, file)
    await house.services.operations_worker.drain()
    assert await unowned(house) == []
    assert (await house.services.lifecycle.find(mine.tenant_id)).state is TenantState.DELETED
    assert (await house.reconcile(yes=True)).found == {}


async def test_a_user_whom_another_tool_brought_in_gets_a_database(house: House, mine: Tenant) -> None:
    async with house.services.central.write() as db:
        await db.execute(text("DELETE FROM tenant WHERE id = :id").bindparams(id=mine.tenant_id))
    made = await house.services.lifecycle.create(mine.user_id)
    await house.services.provisioner.one(made)
    assert (await credentials(house, made)).tenant.tenant_id == made.tenant_id != mine.tenant_id


async def test_a_deletion_that_the_provider_has_not_confirmed_is_seen_through_first(tmp_path: Path) -> None:
    with running_sqld() as sqld:
        async with opened(tmp_path, sqld) as house:
            mine, life = await signed_up(house, "ada"), house.services.lifecycle
            await life.export(mine.tenant_id, tmp_path / "file.db")
            sqld.kill()
            await life.delete(mine.tenant_id)
            for again in (life.create(mine.user_id), life.restore(mine.user_id, tmp_path / "file.db")):
                with pytest.raises(DatabaseDeleting, match="not confirmed"):
                    await again
            sqld.start()
            await house.services.operations_worker.retry_now()
            done = await life.restore(mine.user_id, tmp_path / "file.db")
            assert await house.rows_of(done.tenant.database_name, _WORDS) == [["ada"]]
            assert not await house.exists(mine.database_name)


async def test_who_was_at_work_on_the_old_database_says_nothing_of_the_new_one(house: House, mine: Tenant) -> None:
    await house.services.lifecycle.delete(mine.tenant_id)
    made = await house.services.lifecycle.create(mine.user_id)
    services = house.services
    provisioner = Provisioner(services.tenants.store, services.provider, services.reconciler.bring_up_to_date)
    await provisioner.one(mine)  # it was asleep for long
    assert (await services.lifecycle.find(mine.tenant_id)).state is TenantState.PROVISIONING
    assert not await house.exists(mine.database_name)
    await services.provisioner.one(made)
    assert await house.exists(made.database_name)


# As of a moment ------------------------------------------------------------------------------------------


async def test_a_moment_that_cannot_be_had_leaves_the_tenant_as_it_was(house: House, mine: Tenant) -> None:
    life, now = house.services.lifecycle, utc_now()
    with pytest.raises(NoPointInTime):  # the twin keeps no past either
        await life.restore_at("ada@example.com", now - timedelta(seconds=5))
    for never in (now + timedelta(minutes=5), datetime.max.replace(tzinfo=UTC), datetime(2026, 1, 1)):  # noqa: DTZ001
        with pytest.raises(InvalidInput):
            await life.restore_at(mine.tenant_id, never)
    assert await life.find(mine.tenant_id) == mine
    assert await house.rows_of(mine.database_name, _WORDS) == [["ada"]]
    assert await unowned(house) == []
    assert (await house.reconcile(yes=True)).found == {}
    assert "tenant.restored" not in await trail(house, mine)


@pytest.mark.parametrize("state", ["ready", "suspended"])
async def test_a_tenant_goes_back_to_a_moment(tmp_path: Path, twin: Twin, state: str) -> None:
    twin.clear()
    async with past_of(twin) as past, opened(tmp_path, None, **(twin.variables | {"TURSO_API_URL": past.url})) as house:
        life = house.services.lifecycle
        mine = await signed_up(house, "ada")
        kept = await life.fork(mine.tenant_id)
        await house.run(kept.database_name, *FALL_BACK)
        past.kept["2026-01-31T10:20:30Z"] = kept.database_name
        await house.run(mine.database_name, _WORD.format("later"))
        if state == "suspended":
            await life.suspend(mine.tenant_id, "unpaid")
        now = await life.restore_at(mine.tenant_id, datetime(2026, 1, 31, 10, 20, 30, tzinfo=UTC))
        assert now == await life.find(mine.tenant_id)
        assert (now.state.value, now.schema_version) == (state, HEAD)
        assert now.database_name not in {mine.database_name, kept.database_name}
        assert not await house.exists(mine.database_name)
        if state == "suspended":
            with pytest.raises(AssertionError, match="BLOCKED"):
                await house.run(now.database_name, "SELECT 1")
            await life.resume(mine.tenant_id)
        assert await house.rows_of(now.database_name, _WORDS) == [["ada"]]
        assert await house.version(now.database_name) == HEAD
        assert await unowned(house) == []
        assert "tenant.restored" in await trail(house, mine)


async def test_a_moment_before_the_first_migration_is_refused(tmp_path: Path, twin: Twin) -> None:
    twin.clear()
    async with past_of(twin) as past, opened(tmp_path, None, **(twin.variables | {"TURSO_API_URL": past.url})) as house:
        mine = await signed_up(house, "ada")
        twin.create("empty")
        past.kept["2026-01-31T10:20:30Z"] = "empty"
        with pytest.raises(NoPointInTime, match="nothing in it yet"):
            await house.services.lifecycle.restore_at(mine.tenant_id, datetime(2026, 1, 31, 10, 20, 30, tzinfo=UTC))
        assert await house.services.lifecycle.find(mine.tenant_id) == mine
        assert await house.rows_of(mine.database_name, _WORDS) == [["ada"]]
        assert await unowned(house) == []
