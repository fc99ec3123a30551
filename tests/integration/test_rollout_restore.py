"""Tenants are taken back to before a rollout: on files, on a real sqld and on the local twin of Turso."""

import asyncio
import dataclasses
import multiprocessing
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import select
from testbed.servers import ROOT
from testbed.sqld_service import sqld_variables
from testbed.twin import Twin

from freehold.central.tables import audit_entry, tenant, unowned_database
from freehold.dates import utc_now
from freehold.errors import NotFound, Unauthenticated
from freehold.libsql.http import HranaTarget
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.libsql.urls import http_url
from freehold.migrate.apply import apply
from freehold.rollouts.errors import NobodyBehind, NoRestorePoint, RolloutRunning
from freehold.rollouts.restoring import ALL
from freehold.rollouts.types import Options, RolloutState, TakenBack
from freehold.settings.load import load_settings
from freehold.tenants.findings import Kind
from freehold.tenants.reconcile import Options as Looking
from freehold.tenants.types import TenantState
from freehold.wiring.services import Services, open_services
from tests.integration.test_rollouts import FIRST, LATER, RolloutFleet, fill, history, work
from tests.simulators.restoring_process import STEPS, restore_until_killed
from tests.support.central_template import begin_file

_TENANTS = 3
_DECKS = "SELECT name FROM decks ORDER BY id"
_KEPT = Options(restore_points=True, waves=())

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.simulators.restoring_process"])


def variables(folder: Path) -> dict[str, str]:
    return {"DATA_DIR": str(folder), "SCHEMA_REGISTRY": str(ROOT / "schema_registry/bahar")}


@pytest.fixture(params=["local", "sqld", "turso"])
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RolloutFleet]:
    begin_file(tmp_path / "central.db")
    more: dict[str, str] = {}
    if request.param == "sqld":
        more = sqld_variables(request.getfixturevalue("sqld"))
    elif request.param == "turso":
        request.getfixturevalue("twin").clear()
        more = request.getfixturevalue("twin").variables
    async with open_services(load_settings({**variables(tmp_path), **more})) as services:
        yield await fill(services, _TENANTS)


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[RolloutFleet]:
    begin_file(tmp_path / "central.db")
    async with open_services(load_settings(variables(tmp_path))) as services:
        yield await fill(services, _TENANTS)


async def name_of(fleet: RolloutFleet, tenant_id: str) -> str:
    """What its database is called now."""
    fleet.names[tenant_id] = (await fleet.services.lifecycle.find(tenant_id)).database_name
    return fleet.names[tenant_id]


async def back(fleet: RolloutFleet, *tenant_ids: str, rollout_id: str | None = None) -> list[TakenBack]:
    restoring = fleet.services.rollouts.restoring
    made = await restoring.rollout(rollout_id)
    points = restoring.of(made, tenant_ids) if tenant_ids else restoring.each(made, ALL)
    return [done async for done in restoring.restore(made, points)]


async def copies(services: Services) -> set[str]:
    """The names that are kept, and those of what a killed process has left: until its lease is over."""
    async with services.central.read() as db:
        kept = select(unowned_database.c.name).where(unowned_database.c.state == "making")
        return set((await db.execute(kept)).scalars())


async def test_one_tenant_is_taken_back_and_what_was_written_since_is_set_aside(
    fleet: RolloutFleet, tmp_path: Path
) -> None:
    rollouts, life = fleet.services.rollouts, fleet.services.lifecycle
    one, other, _ = fleet.names
    made = await rollouts.start(_KEPT)
    assert (await work(fleet, made.rollout_id)).state is RolloutState.DONE
    kept = (await rollouts.progress()).kept
    assert (kept.restore_points, kept.set_aside, kept.until is not None) == (_TENANTS, 0, True)
    migrated = fleet.names[one]
    generation = await fleet.services.rotations.generation(migrated)
    await fleet.run(one, "INSERT INTO decks VALUES (2, 'written since', 'red')", "SELECT 1")

    [done] = await back(fleet, one)
    assert (done.outcome, done.version, done.kept_as) == ("restored", 2, migrated)
    tenant_now = await life.find(one)
    assert (tenant_now.state, tenant_now.schema_version) == (TenantState.READY, 2)
    assert done.database_name == await name_of(fleet, one) != migrated
    assert await fleet.run(one, _DECKS) == [["verbs"]]
    assert await fleet.run(one, "SELECT count(*) FROM cards") == [[2]]
    # No token for the old database is worth anything, nor is one to be had.
    assert await fleet.services.rotations.generation(migrated) == generation + 1
    with pytest.raises(NotFound):
        await life.find(migrated)

    # What the user wrote is where the answer says.
    assert done.kept_as is not None
    await life.export(done.kept_as, tmp_path / "aside.db")
    aside = sqlite3.connect(tmp_path / "aside.db")
    assert [row[0] for row in aside.execute(_DECKS)] == ["verbs", "written since"]
    aside.close()

    progress = await rollouts.progress()
    assert (progress.counts["restored"], progress.counts["migrated"]) == (1, _TENANTS - 1)
    assert (progress.kept.restore_points, progress.kept.set_aside) == (_TENANTS, 1)
    # Again is as good as once; the others were left alone.
    [again] = await back(fleet, one)
    assert (again.outcome, again.database_name) == ("unchanged", fleet.names[one])
    assert "taken back already" in (again.reason or "")
    assert (await life.find(other)).database_name == fleet.names[other]
    async with fleet.services.central.read() as db:
        actions = (await db.execute(select(audit_entry.c.action, audit_entry.c.target))).all()
    assert [target for action, target in actions if action == "tenant.taken_back"] == [f"tenant:{one}"]

    # Its app migrates it as it opens it: there is a way back still.
    await apply(await fleet.services.provider.open(fleet.names[one]), history(*FIRST, *LATER))
    [once_more] = await back(fleet, one)
    assert (once_more.outcome, once_more.version, once_more.kept_as) == ("restored", 2, fleet.names[one])
    await name_of(fleet, one)
    assert await fleet.run(one, _DECKS) == [["verbs"]]
    # What it had each time is counted, named and given up with the others.
    assert (await rollouts.progress()).kept.set_aside == 2
    point = await rollouts.restoring.points.find(made.rollout_id, one)
    assert point.set_aside == (done.kept_as, once_more.kept_as)
    assert ", ".join(point.set_aside) in ((await back(fleet, one))[0].reason or "")
    assert await rollouts.restoring.discard(made.rollout_id) == _TENANTS + 2
    assert await copies(fleet.services) == set()


async def test_a_rollout_that_has_them_on_its_list_already_lets_them_be(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    one, held, other = fleet.names
    first = await rollouts.start(_KEPT, 3)
    await work(fleet, first.rollout_id)
    second = await rollouts.start(_KEPT)
    # One before anybody is at work on it, one while a worker holds it.
    now_ms = rollouts.clock.now_ms()
    claimed = await rollouts.store.claim(second.rollout_id, 1, now_ms=now_ms, lease_until_ms=now_ms + 2_000, limit=1)
    [held_step] = claimed
    names = [held_step.tenant_id, next(each for each in (one, held, other) if each != held_step.tenant_id)]
    found = await back(fleet, *names, rollout_id=first.rollout_id)
    assert [each.outcome for each in found] == ["restored", "restored"]
    assert (await work(fleet, second.rollout_id)).state is RolloutState.DONE
    life = fleet.services.lifecycle
    assert [(await life.find(each)).schema_version for each in names] == [2, 2]
    counts = (await rollouts.progress(second.rollout_id)).counts
    assert (counts["restored"], counts["migrated"], counts["pending"]) == (2, 1, 0)
    # Until somebody says otherwise.
    assert await rollouts.retry(second.rollout_id, states=["restored"]) == 2
    await rollouts.resume(second.rollout_id)
    await work(fleet, second.rollout_id)
    assert {(await life.find(each)).schema_version for each in fleet.names} == {second.to_version}


async def test_tokens_that_turso_gave_for_the_old_database_are_worthless(twin: Twin, tmp_path: Path) -> None:
    twin.clear()
    begin_file(tmp_path / "central.db")
    async with open_services(load_settings({**variables(tmp_path), **twin.variables})) as services:
        fleet = await fill(services, 1)
        [(one, old)] = fleet.names.items()
        await work(fleet, (await services.rollouts.start(_KEPT)).rollout_id)
        token = await services.provider.mint_token(old, "full", "session")
        place = await services.provider.find(old)
        assert place is not None
        look = [Batch((BatchStep(Stmt(sql="SELECT 1")),))]
        async with aiohttp.ClientSession() as session:
            target = HranaTarget(session, http_url(place.url), token.text)
            await target.run(look)
            await back(fleet, one)
            with pytest.raises(Unauthenticated):
                await target.run(look)


async def test_no_later_rollout_takes_them_along_unasked(fleet: RolloutFleet) -> None:
    services, rollouts = fleet.services, fleet.services.rollouts
    one, *_ = fleet.names
    await work(fleet, (await rollouts.start(_KEPT)).rollout_id)
    await back(fleet, one)
    await name_of(fleet, one)
    plan = await rollouts.plan(Options())
    assert (plan.tenants, plan.left_out) == (0, {"restored": 1})
    with pytest.raises(NobodyBehind, match="--include-restored"):
        await rollouts.start(Options())
    assert [each async for each in rollouts.rehearse(5, 3)] == []

    # Nor does what else brings databases up to date.
    found: list[Any] = []
    looked = await services.reconciler.run(Looking(), found.append)
    assert [(each.kind, each.tenant_id) for each in found] == [(Kind.TAKEN_BACK, one)]
    assert looked.is_whole
    await services.lifecycle.suspend(one)
    assert (await services.lifecycle.resume(one)).schema_version == 2

    # A newer release brings the same migrations: it leaves them where they are, too.
    more = "ALTER TABLE cards ADD COLUMN ease REAL"
    await services.registry.publish(history(*FIRST, *LATER, more))
    newer = await rollouts.start(Options(waves=()))
    assert newer.tenants == _TENANTS - 1
    await work(fleet, newer.rollout_id)
    assert (await services.lifecycle.find(one)).schema_version == 2

    asked = await rollouts.start(Options(waves=(), include_restored=True))
    assert asked.tenants == 1
    assert (await work(fleet, asked.rollout_id)).state is RolloutState.DONE
    assert await fleet.versions() == {(1, 2, 3, 4, 5, 6)}
    assert (await rollouts.plan(Options())).left_out == {}


async def test_those_that_failed_half_way_are_taken_back_and_tried_again(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    broken, unchanged, fine = fleet.names
    # The index of version 4 does not fit; version 3 did. Another one fails at version 3 already.
    await fleet.run(broken, "INSERT INTO decks VALUES (2, 'verbs')", "SELECT 1")
    await fleet.run(unchanged, "INSERT INTO decks VALUES (2, 'verbs')", "SELECT 1")
    made = await rollouts.start(Options(restore_points=True, waves=(), failure_budget="2"))
    assert (await work(fleet, made.rollout_id)).state is RolloutState.DONE
    assert await fleet.versions() == {(1, 2, 3), (1, 2, 3, 4, 5)}

    restoring = rollouts.restoring
    failed = [done async for done in restoring.restore(made, restoring.each(made, ("failed",)))]
    assert {done.outcome for done in failed} == {"restored"}
    for tenant_id in (broken, unchanged):
        await name_of(fleet, tenant_id)
    assert await fleet.versions() == {(1, 2), (1, 2, 3, 4, 5)}
    assert await fleet.run(broken, "SELECT count(*) FROM decks") == [[2]]
    assert (await rollouts.progress()).counts["failed"] == 0

    await fleet.run(broken, "DELETE FROM decks WHERE id = 2", "SELECT 1")
    await fleet.run(unchanged, "DELETE FROM decks WHERE id = 2", "SELECT 1")
    assert await rollouts.retry(made.rollout_id, states=("restored",)) == 2
    await rollouts.resume(made.rollout_id)
    assert (await work(fleet, made.rollout_id)).state is RolloutState.DONE
    assert await fleet.versions() == {(1, 2, 3, 4, 5)}
    # The second try kept copies of its own.
    assert [done.outcome for done in await back(fleet, broken)] == ["restored"]
    assert fine in fleet.names


async def test_a_second_try_keeps_what_was_written_since_the_first_one_unless_that_had_changed_something(
    fleet: RolloutFleet,
) -> None:
    rollouts, points = fleet.services.rollouts, fleet.services.rollouts.restoring.points
    half, never, _ = fleet.names
    # One is stopped by the index of version 4, one by version 3 already.
    await fleet.run(half, "INSERT INTO decks VALUES (2, 'verbs')", "SELECT 1")
    await fleet.run(never, "ALTER TABLE decks ADD COLUMN colour TEXT", "SELECT 1")
    made = await rollouts.start(Options(restore_points=True, waves=(), failure_budget="2"))
    await work(fleet, made.rollout_id)
    assert await fleet.versions() == {(1, 2), (1, 2, 3), (1, 2, 3, 4, 5)}
    first = {each: (await points.find(made.rollout_id, each)).name for each in (half, never)}
    await fleet.run(never, "ALTER TABLE decks DROP COLUMN colour", "INSERT INTO decks VALUES (2, 'since')", "SELECT 1")
    await fleet.run(half, "DELETE FROM decks WHERE id = 2", "SELECT 1")
    assert await rollouts.retry(made.rollout_id, states=("failed", "drifted")) == 2
    await rollouts.resume(made.rollout_id)
    await work(fleet, made.rollout_id)
    assert await fleet.versions() == {(1, 2, 3, 4, 5)}
    second = {each: (await points.find(made.rollout_id, each)).name for each in (half, never)}
    assert second[half] == first[half]
    assert second[never] != first[never]
    await fleet.services.operations_worker.drain()
    assert first[never] not in await copies(fleet.services)
    assert {done.outcome for done in await back(fleet, half, never)} == {"restored"}
    for tenant_id in (half, never):
        await name_of(fleet, tenant_id)
    assert await fleet.run(never, _DECKS) == [["verbs"], ["since"]]
    assert await fleet.run(half, _DECKS) == [["verbs"], ["verbs"]]


async def test_all_are_taken_back_and_a_suspended_one_stays_suspended(fleet: RolloutFleet) -> None:
    rollouts, life = fleet.services.rollouts, fleet.services.lifecycle
    closed, *_ = fleet.names
    await work(fleet, (await rollouts.start(_KEPT)).rollout_id)
    await life.suspend(closed, "unpaid")
    found = await back(fleet)
    assert {done.outcome for done in found} == {"restored"}
    assert len(found) == _TENANTS
    now = await life.find(closed)
    assert (now.state, now.error) == (TenantState.SUSPENDED, "unpaid")
    database = await fleet.services.provider.find(now.database_name)
    assert database is not None
    assert database.is_suspended
    await life.resume(closed)
    for tenant_id in list(fleet.names):
        await name_of(fleet, tenant_id)
    assert await fleet.versions() == {(1, 2)}
    assert {done.outcome for done in await back(fleet)} == {"unchanged"}


async def test_what_cannot_be_taken_back_says_why(files: RolloutFleet) -> None:
    services, rollouts = files.services, files.services.rollouts
    gone, unchanged, lost = files.names
    bare = await rollouts.start(Options(waves=("1",)))
    with pytest.raises(RolloutRunning, match="pause"):
        await back(files)
    await rollouts.abort(bare.rollout_id)
    with pytest.raises(NoRestorePoint, match="without --restore-points"):
        await back(files)

    made = await rollouts.start(Options(restore_points=True, waves=()))
    await rollouts.pause(made.rollout_id)
    with pytest.raises(NoRestorePoint):
        await back(files)  # there are none yet
    await rollouts.resume(made.rollout_id)
    await work(files, made.rollout_id)
    point = await rollouts.restoring.points.find(made.rollout_id, lost)
    assert point.name is not None
    await services.lifecycle.store.discard(point.name, rollouts.clock.now_ms())
    await services.lifecycle.delete(gone)
    # Its user's app had migrated it before the rollout came to it.
    async with services.central.write() as db:
        await db.exec_driver_sql("UPDATE rollout_step SET state = 'skipped' WHERE tenant_id = ?", (unchanged,))
    found = {done.tenant_id: done for done in await back(files)}
    assert {each.outcome for each in found.values()} == {"failed", "restored"}
    assert found[gone].reason == "a tenant that is deleted has no database to be replaced"
    assert found[lost].reason == "the copy from before its change is gone"
    assert found[lost].code == "no_restore_point"
    with pytest.raises(NotFound):
        await back(files, "nobody")


async def test_copies_go_with_the_tenant_and_when_they_are_given_up(files: RolloutFleet) -> None:
    services, rollouts = files.services, files.services.rollouts
    gone, one, _ = files.names
    made = await rollouts.start(Options(restore_points=True, waves=(), keep_days=2))
    await work(files, made.rollout_id)
    await back(files, one, gone)
    before = await copies(services)
    assert len(before) == _TENANTS + 2
    point = await rollouts.restoring.points.find(made.rollout_id, gone)
    await services.lifecycle.delete(gone)
    await services.operations_worker.drain()
    assert await copies(services) == before - {point.name, *point.set_aside}
    for name in (point.name, *point.set_aside):
        assert name is not None
        assert await services.provider.find(name) is None

    assert await rollouts.restoring.discard(made.rollout_id) == _TENANTS
    assert await rollouts.restoring.discard(made.rollout_id) == 0
    await services.operations_worker.drain()
    assert await copies(services) == set()
    with pytest.raises(NoRestorePoint, match="gone"):
        await back(files, one)
    assert (await rollouts.progress()).kept.restore_points == 0


async def test_a_copy_is_kept_as_many_days_as_were_asked_for(files: RolloutFleet) -> None:
    rollouts = files.services.rollouts
    made = await rollouts.start(Options(restore_points=True, waves=(), keep_days=30))
    await work(files, made.rollout_id)
    until = (await rollouts.progress()).kept.until
    assert until is not None
    assert until > f"{utc_now():%Y-%m-%d}"
    point = await rollouts.restoring.points.find(made.rollout_id, next(iter(files.names)))
    assert point.until_ms is not None
    days = (point.until_ms - rollouts.clock.now_ms()) / (24 * 3_600_000)
    assert 29 < days <= 30


@pytest.mark.parametrize("step", STEPS)
async def test_a_command_that_is_killed_leaves_each_tenant_before_or_after_and_is_run_again(
    tmp_path: Path, step: str
) -> None:
    begin_file(tmp_path / "central.db")
    async with open_services(load_settings(variables(tmp_path))) as services:
        fleet = await fill(services, 2)
        one, other = fleet.names
        await work(fleet, (await services.rollouts.start(_KEPT)).rollout_id)
        old = fleet.names[one]
        await fleet.run(one, "INSERT INTO decks VALUES (2, 'written since', 'red')", "SELECT 1")
    child = _processes.Process(target=restore_until_killed, args=(str(tmp_path), one, step))
    child.start()
    await asyncio.to_thread(child.join, 30)
    assert child.exitcode == -signal.SIGKILL, child.exitcode
    async with open_services(load_settings(variables(tmp_path))) as services:
        fleet = dataclasses.replace(fleet, services=services)
        is_done = STEPS.index(step) >= STEPS.index("after put_back")
        assert (await name_of(fleet, one) != old) == is_done
        assert len(await fleet.run(one, _DECKS)) == (1 if is_done else 2)
        found = {done.tenant_id: done.outcome for done in await back(fleet, one, other)}
        assert found == {one: "unchanged" if is_done else "restored", other: "restored"}
        await name_of(fleet, one)
        await name_of(fleet, other)
        assert await fleet.versions() == {(1, 2)}
        assert old in await copies(services)
        # Nothing is left that is nobody's.
        async with services.central.read() as db:
            known = set((await db.execute(select(tenant.c.database_name))).scalars()) | await copies(services)
        pages = services.provider.names()
        assert pages is not None
        assert {name async for page in pages for name in page} <= known
