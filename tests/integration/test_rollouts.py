"""Rollouts on real databases: waves, budget, several workers, stopping and going on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest
from sqlalchemy import insert, select, update
from testbed.servers import ROOT
from testbed.sqld import Sqld, running_sqld
from testbed.sqld_service import sqld_variables

from freehold.central.tables import audit_entry, rollout_step, tenant
from freehold.central.tenants.rows import new_tenant_row
from freehold.dates import utc_now
from freehold.errors import NotFound
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.libsql.values import decode
from freehold.migrate.apply import apply
from freehold.migrate.ledger import ledger_rows
from freehold.migrate.types import Migration
from freehold.rollouts.errors import BadRollout, NobodyBehind, RolloutEnded, RolloutOpen
from freehold.rollouts.rows import estimated_rows
from freehold.rollouts.types import Ended, Options, RolloutState
from freehold.rollouts.waves import wave_ends
from freehold.rollouts.worker import RolloutWorkerConfig
from freehold.settings.load import load_settings
from freehold.tenants.names import new_database_name
from freehold.tenants.ports import LifecycleStore
from freehold.tenants.types import Tenant
from freehold.wiring.services import Services, open_services
from tests.support.central_template import begin_file
from tests.support.house import central_on

FIRST = (
    "CREATE TABLE decks (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE cards (id INTEGER PRIMARY KEY, deck_id INTEGER REFERENCES decks (id) ON DELETE CASCADE)",
)
LATER = (
    "ALTER TABLE decks ADD COLUMN colour TEXT",
    "CREATE UNIQUE INDEX decks_name ON decks (name)",
    # A rebuild: dropping the old table must not take its children along.
    "-- foreign_keys: off\nCREATE TABLE new_decks (id INTEGER PRIMARY KEY, name TEXT NOT NULL, colour TEXT);"
    " INSERT INTO new_decks SELECT id, coalesce(name, ''), colour FROM decks; DROP TABLE decks;"
    " ALTER TABLE new_decks RENAME TO decks; CREATE UNIQUE INDEX decks_name ON decks (name)",
)
QUICK = RolloutWorkerConfig(poll_s=0.05, flush_s=0.02, lease_s=1.5)


def history(*scripts: str) -> list[Migration]:
    return [
        Migration(version=version, name=f"step_{version}", sql=f"{sql};\n")
        for version, sql in enumerate(scripts, start=1)
    ]


@dataclass
class RolloutFleet:
    """An installation with ready tenants at version 2, and three migrations published since."""

    services: Services
    names: dict[str, str]  # by tenant

    async def plant(self, tenant_id: str, *sql: str) -> None:
        """Have run what an older version let in, and today's engine on files does not."""
        if self.services.settings.tenant_provider != "local":
            await self.run(tenant_id, *sql)
            return
        [path] = (self.services.settings.data_dir / "tenants").rglob(f"{self.names[tenant_id]}.db")
        db = apsw.Connection(str(path))
        for each in sql:
            db.execute(each)
        db.close()

    async def run(self, tenant_id: str, *sql: str) -> list[list[Any]]:
        """Rows of the last statement."""
        target = await self.services.provider.open(self.names[tenant_id])
        (answer,) = await target.run([Batch(tuple(BatchStep(Stmt(sql=each)) for each in sql))])
        assert not any(answer.step_errors), answer.step_errors
        result = answer.step_results[-1]
        assert result is not None
        return [[decode(value) for value in row] for row in result.rows]

    async def versions(self) -> set[tuple[int, ...]]:
        """The ledgers that there are."""
        found = set()
        for name in self.names.values():
            rows = await ledger_rows(await self.services.provider.open(name))
            found.add(tuple(row.version for row in rows))
        return found

    async def recorded(self) -> set[int]:
        async with self.services.central.read() as db:
            return set((await db.execute(select(tenant.c.schema_version))).scalars())


async def fill(services: Services, count: int) -> RolloutFleet:
    await services.registry.publish(history(*FIRST))
    async with services.central.write() as db:
        rows = [new_tenant_row(new_database_name(), services.provider.name, utc_now()) for _ in range(count)]
        await db.execute(insert(tenant), rows)
    assert await services.provisioner.drain() == []
    fleet = RolloutFleet(services, {row["id"]: row["database_name"] for row in rows})
    for tenant_id in fleet.names:
        await fleet.run(tenant_id, "INSERT INTO decks VALUES (1, 'verbs')", "INSERT INTO cards VALUES (1, 1), (2, 1)")
    await services.registry.publish(history(*FIRST, *LATER))
    return fleet


@pytest.fixture(scope="module")
def sqld() -> Iterator[Sqld]:
    with running_sqld("--max-active-namespaces", "1000") as running:
        yield running


@pytest.fixture(params=["local", "sqld"])
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RolloutFleet]:
    variables = {"DATA_DIR": str(tmp_path), "SCHEMA_REGISTRY": str(ROOT / "schema_registry/bahar")}
    if request.param == "local":
        begin_file(tmp_path / "central.db")
    else:
        sqld = request.getfixturevalue("sqld")
        variables |= {"BETTER_AUTH_SECRET": "s" * 40, "DATABASE_URL": central_on(sqld), **sqld_variables(sqld)}
    async with open_services(load_settings(variables)) as services:
        yield await fill(services, 12)


async def work(fleet: RolloutFleet, rollout_id: str) -> Any:
    return await fleet.services.rollouts.work(rollout_id, config=QUICK)


async def test_every_tenant_ends_at_the_version_with_one_request_each(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    plan = await rollouts.plan(Options())
    assert (plan.tenants, plan.behind, plan.waves, plan.rebuilds) == (12, {2: 12}, (1, 2, 12), ("0005_step_5",))
    assert plan.estimated_rows == {"decks": 12}  # `cards` are left alone
    started = await rollouts.start(Options())
    assert (await work(fleet, started.rollout_id)).state is RolloutState.DONE
    assert (await rollouts.plan(Options())).estimated_rows == {}
    done = await rollouts.progress()
    assert done.counts == {"pending": 0, "migrated": 12, "skipped": 0, "failed": 0, "drifted": 0}
    assert [sum(wave.values()) for wave in done.waves] == [1, 1, 10]
    assert done.requests == 12
    assert await fleet.versions() == {(1, 2, 3, 4, 5)}
    assert await fleet.recorded() == {5}
    for tenant_id in fleet.names:
        assert await fleet.run(tenant_id, "SELECT count(*) FROM cards") == [[2]]
    with pytest.raises(NobodyBehind, match="nobody is behind version 5"):
        await rollouts.start(Options())
    assert len(await rollouts.store.newest(10)) == 1


async def test_rows_are_estimated_from_the_databases_that_answer(fleet: RolloutFleet) -> None:
    names = list(fleet.names.values())
    await fleet.run(next(iter(fleet.names)), "INSERT INTO decks VALUES (2, 'nouns'), (3, 'idioms')")
    pending, open_target = history(*FIRST, *LATER)[2:], fleet.services.provider.open
    assert await estimated_rows(open_target, names, 1000, pending) == {"decks": round(14 * 1000 / 12)}
    gone = [new_database_name() for _ in range(2)]
    assert await estimated_rows(open_target, [*gone, names[1]], 1000, pending) == {"decks": 1000}
    assert await estimated_rows(open_target, gone, 1000, pending) is None
    assert await estimated_rows(open_target, gone, 1000, pending[:1]) == {}  # nobody need be asked


async def test_a_wrong_belief_costs_a_request_and_nothing_else(fleet: RolloutFleet) -> None:
    migrations = history(*FIRST, *LATER)
    ahead, behind, *_ = fleet.names
    await apply(await fleet.services.provider.open(fleet.names[ahead]), migrations)
    async with fleet.services.central.write() as db:
        await db.execute(update(tenant).where(tenant.c.id == behind).values(schema_version=3))
    started = await fleet.services.rollouts.start(Options())
    await work(fleet, started.rollout_id)
    done = await fleet.services.rollouts.progress()
    assert (done.counts["migrated"], done.counts["skipped"]) == (11, 1)
    assert done.requests <= 12 + 2 * 2
    assert await fleet.versions() == {(1, 2, 3, 4, 5)}


async def test_a_failing_tenant_pauses_it_and_once_repaired_it_goes_on(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    broken = sorted(fleet.names, key=lambda each: fleet.names[each])[5]
    await fleet.run(broken, "INSERT INTO decks VALUES (2, 'verbs')")
    started = await rollouts.start(Options(waves=("4",)))
    paused = await work(fleet, started.rollout_id)
    assert (paused.state, paused.wave) == (RolloutState.PAUSED, 2)
    (failure,) = (await rollouts.progress()).failures
    assert (failure.cause, failure.tenants, failure.examples) == ("migration_failed", 1, (broken,))
    assert "UNIQUE" in failure.error
    with pytest.raises(RolloutOpen):
        await rollouts.start(Options())

    await fleet.run(broken, "DELETE FROM decks WHERE id = 2")
    assert await rollouts.retry(started.rollout_id) == 1
    await rollouts.resume(started.rollout_id)
    assert (await work(fleet, started.rollout_id)).state is RolloutState.DONE
    assert await fleet.versions() == {(1, 2, 3, 4, 5)}
    with pytest.raises(RolloutEnded):
        await rollouts.resume(started.rollout_id)


# What users did to their own databases before the rollout, so that a migration fails there.
SABOTAGE = {
    "table dropped": ("DROP TABLE cards", "DROP TABLE decks"),
    "table taken": ("ALTER TABLE decks ADD COLUMN colour TEXT",),
    "view instead": ("ALTER TABLE decks RENAME TO mine", "CREATE VIEW decks AS SELECT * FROM mine"),
    "view in the way": ("CREATE VIEW odd AS SELECT absent FROM decks",),
    "name taken": ("CREATE TABLE new_decks (id)",),
    "index taken": ("CREATE TABLE decks_name (id)",),
    "ledger dropped": ("DROP TABLE freehold_ledger",),
    "ledger a view": ("DROP TABLE freehold_ledger", "CREATE VIEW freehold_ledger AS SELECT 1 AS version"),
    "ledger untrue": ("UPDATE freehold_ledger SET chain = 'ab' WHERE version = 2",),
}


async def test_what_users_did_to_their_own_schemas_is_told_and_stops_nobody(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    hostile = dict(zip(fleet.names, SABOTAGE, strict=False))
    for tenant_id, kind in hostile.items():
        await fleet.run(tenant_id, *SABOTAGE[kind], "SELECT 1")
    started = await rollouts.start(Options())
    assert started.budget == 0
    ended = await work(fleet, started.rollout_id)
    done = await rollouts.progress()
    assert (ended.state, ended.reason) == (RolloutState.DONE, None), done.failures
    assert done.counts == {
        "pending": 0,
        "migrated": 12 - len(SABOTAGE),
        "skipped": 0,
        "failed": 0,
        "drifted": len(SABOTAGE),
    }
    assert done.failures == ()
    assert sum(each.tenants for each in done.drifted) == len(SABOTAGE)
    assert {each.cause for each in done.drifted} == {"drifted", "diverged"}
    assert any("table decks is missing" in each.error or "decks" in each.error for each in done.drifted)
    assert done.is_fine
    plan = await rollouts.plan(Options())
    assert (plan.tenants, plan.drifted) == (len(SABOTAGE), len(SABOTAGE))


@pytest.mark.timeout(400)
async def test_views_that_double_neither_hang_a_rollout_nor_a_check(fleet: RolloutFleet) -> None:
    """Forty of them would take an engine that works them out longer than anybody lives."""
    rollouts = fleet.services.rollouts
    views = ["CREATE VIEW w0 AS SELECT 1 AS x FROM decks"] + [
        f"CREATE VIEW w{n} AS SELECT a.x FROM w{n - 1} AS a, w{n - 1} AS b" for n in range(1, 40)
    ]
    hostile, bare = tuple(fleet.names)[:2]
    await fleet.run(hostile, "DROP TABLE cards", "CREATE TABLE decks_name (id)", "SELECT 1")
    for each in (hostile, bare):
        await fleet.plant(each, *views)
    started = await rollouts.start(Options(canaries=(hostile, bare), waves=()))
    ended = await work(fleet, started.rollout_id)
    done = await rollouts.progress()
    assert (ended.state, done.counts["failed"]) == (RolloutState.DONE, 0), done.failures
    assert done.counts["migrated"] >= 10
    assert done.counts["drifted"] >= 1
    tenants = [await fleet.services.lifecycle.find(each) for each in (hostile, bare)]

    async def chosen() -> AsyncIterator[Tenant]:
        for each in tenants:
            yield each

    checked = {each.tenant.tenant_id: each async for each in fleet.services.drift.run(chosen())}
    assert {each.verdict for each in checked.values()} == {"drifted"}
    assert "view w39 should not be there" in checked[bare].reasons


async def test_drifted_tenants_alone_are_no_canaries(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    drifted, broken = tuple(fleet.names)[:3], tuple(fleet.names)[3]
    for tenant_id in drifted:
        await fleet.run(tenant_id, *SABOTAGE["table dropped"], "SELECT 1")
    await fleet.run(broken, "INSERT INTO decks VALUES (2, 'verbs')")  # breaks the migration by its rows
    for others in tuple(fleet.names)[4:]:
        await fleet.run(others, "INSERT INTO decks VALUES (2, 'verbs')")
    started = await rollouts.start(Options(canaries=drifted, waves=("50%",)))
    paused = await work(fleet, started.rollout_id)
    # The migration is bad for everybody else: it was found out on as many as the canaries were, and no more.
    assert (paused.state, paused.wave) == (RolloutState.PAUSED, 1)
    done = await rollouts.progress()
    assert done.counts["drifted"] == 3
    assert 1 <= done.counts["failed"] <= 3
    assert done.counts["pending"] >= 6
    assert not done.is_fine


async def test_a_rollout_over_drifted_tenants_only_has_proved_nothing(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    for tenant_id in fleet.names:
        await fleet.run(tenant_id, *SABOTAGE["table dropped"], "SELECT 1")
    started = await rollouts.start(Options())
    assert (await work(fleet, started.rollout_id)).state is RolloutState.DONE
    done = await rollouts.progress()
    assert (done.counts["drifted"], done.is_fine) == (12, False)


async def test_a_repaired_tenant_is_migrated_when_drifted_ones_are_tried_again(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    by_name = sorted(fleet.names, key=lambda each: fleet.names[each])
    drifted, broken = by_name[3], by_name[5]
    await fleet.run(drifted, "CREATE TABLE decks_name (id)", "SELECT 1")
    await fleet.run(broken, "INSERT INTO decks VALUES (2, 'verbs')")
    started = await rollouts.start(Options(waves=("5",)))
    assert (await work(fleet, started.rollout_id)).state is RolloutState.PAUSED
    await fleet.run(drifted, "DROP TABLE decks_name", "SELECT 1")
    await fleet.run(broken, "DELETE FROM decks WHERE id = 2")
    assert await rollouts.retry(started.rollout_id, states=("failed", "drifted")) == 2
    await rollouts.resume(started.rollout_id)
    assert (await work(fleet, started.rollout_id)).state is RolloutState.DONE
    assert await fleet.versions() == {(1, 2, 3, 4, 5)}


async def test_a_wave_is_judged_by_those_whose_schema_is_the_registrys(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    changed, well = tuple(fleet.names)[:2]
    # Harmless to the migrations, and what the health query asks for is gone.
    await fleet.run(changed, "DROP TABLE cards", "SELECT 1")
    options = Options(canaries=(changed,), waves=(), health_sql="SELECT count(*) > 0 FROM cards")
    started = await rollouts.start(options)
    assert (await work(fleet, started.rollout_id)).state is RolloutState.DONE
    done = await rollouts.progress()
    assert done.counts["migrated"] == 12
    assert [sum(wave.values()) for wave in done.waves] == [2, 10]  # another one took the canary's part
    assert well in fleet.names


async def test_a_wave_is_not_over_while_somebody_has_failed_ones_tried_again(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    started = await rollouts.start(Options(failure_budget="100%"))
    store, now = rollouts.store, rollouts.clock.now_ms()
    claimed = await store.claim(started.rollout_id, 1, now_ms=now, lease_until_ms=now + 60_000, limit=len(fleet.names))
    failed = [Ended(step=step, state="failed", error="no", cause="test") for step in claimed]
    standing = await store.record(started.rollout_id, failed[1:])
    assert (standing.failed, standing.ended_wave) == (len(claimed) - 1, None)
    standing = await store.record(started.rollout_id, failed[:1])
    assert (standing.failed, standing.ended_wave) == (len(claimed), 1)
    await rollouts.retry(started.rollout_id)  # between a worker's last look and its next step
    assert await store.advance(started.rollout_id, 1) is None
    assert (await work(fleet, started.rollout_id)).state is RolloutState.DONE
    assert await fleet.recorded() == {5}


async def test_within_its_budget_it_goes_on_and_says_who_failed(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    broken = list(fleet.names)[:2]
    for tenant_id in broken:
        await fleet.run(tenant_id, "INSERT INTO decks VALUES (2, 'verbs')")
    started = await rollouts.start(Options(failure_budget="20%"))
    assert started.budget == 3
    assert (await work(fleet, started.rollout_id)).state is RolloutState.DONE
    done = await rollouts.progress()
    assert (done.counts["migrated"], done.counts["failed"]) == (10, 2)
    assert await fleet.recorded() == {2, 5}


async def test_one_that_is_done_is_opened_again_for_those_that_failed(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    broken = next(iter(fleet.names))
    await fleet.run(broken, "INSERT INTO decks VALUES (2, 'verbs')")
    made = await rollouts.start(Options(failure_budget="1"))
    assert (await work(fleet, made.rollout_id)).state is RolloutState.DONE
    for count in (1, 0):  # twice is as good as once
        assert await rollouts.retry(made.rollout_id) == count
        done = await rollouts.progress()
        assert (done.rollout.state, done.waiting, done.counts["failed"], done.is_fine) == (
            RolloutState.DONE, 1, 0, False,
        )  # fmt: skip
    assert (await rollouts.resume(made.rollout_id)).state is RolloutState.RUNNING
    assert (await work(fleet, made.rollout_id)).state is RolloutState.DONE
    assert (await rollouts.progress()).counts["failed"] == 1  # it was not repaired
    await fleet.run(broken, "DELETE FROM decks WHERE id = 2")
    assert await rollouts.retry(made.rollout_id) == 1
    assert (await work(fleet, made.rollout_id)).state is RolloutState.DONE  # who works opens it, too
    assert (await rollouts.progress()).is_fine
    assert await fleet.versions() == {(1, 2, 3, 4, 5)}
    assert await rollouts.retry(made.rollout_id) == 0
    with pytest.raises(RolloutEnded):
        await rollouts.resume(made.rollout_id)


async def test_of_an_aborted_one_nothing_is_tried_again_nor_while_another_is_open(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    broken = sorted(fleet.names, key=lambda each: fleet.names[each])[0]
    await fleet.run(broken, "INSERT INTO decks VALUES (2, 'verbs')")
    first = await rollouts.start(Options(waves=(), failure_budget="1"))
    await work(fleet, first.rollout_id)
    await rollouts.retry(first.rollout_id)
    second = await rollouts.start(Options(waves=()))
    assert (second.tenants, (await rollouts.progress(first.rollout_id)).counts["failed"]) == (1, 1)
    for again in (rollouts.retry(first.rollout_id), rollouts.start(Options())):
        with pytest.raises(RolloutOpen, match=second.rollout_id):
            await again
    await rollouts.abort(second.rollout_id)
    with pytest.raises(RolloutEnded, match="aborted"):
        await rollouts.retry(second.rollout_id)
    assert await rollouts.retry(first.rollout_id) == 1


async def test_why_it_was_paused_is_not_forgotten(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    broken = next(iter(fleet.names))
    await fleet.run(broken, "INSERT INTO decks VALUES (2, 'verbs')")
    made = await rollouts.start(Options(canaries=(broken,)))
    paused = await work(fleet, made.rollout_id)
    assert "1 failed, and 0 may" in (paused.reason or "")
    assert await rollouts.pause(made.rollout_id, "over it") == paused
    aborted = await rollouts.abort(made.rollout_id)
    assert aborted.reason == f"aborted by an operator; it was paused: {paused.reason}"


async def test_it_tells_who_is_at_work_on_it(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    made = await rollouts.start(Options(waves=()))
    assert (await rollouts.progress()).workers == 0
    seen: list[int] = []

    async def look() -> None:
        seen.append((await rollouts.progress()).workers)

    await rollouts.work(made.rollout_id, config=QUICK, on_progress=look)
    assert max(seen) == 1
    assert (await rollouts.progress()).workers == 0
    now_ms = rollouts.clock.now_ms()
    await rollouts.workers.is_at_work(made.rollout_id, "was killed", now_ms - 1)
    await rollouts.workers.is_at_work(made.rollout_id, "is there", now_ms + 60_000)
    assert await rollouts.workers.count(made.rollout_id, now_ms) == 1


async def test_thousands_of_failures_are_grouped_page_by_page(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    made = await rollouts.start(Options(waves=()))
    cause = "migration 4 (step_4), statement 1, line 1: row {} of decks is not unique: 'name {}'"
    rows = [
        {"rollout_id": made.rollout_id, "tenant_id": f"t{number:05}", "wave": 1 + number % 3, "state": "failed",
         "from_version": 2, "error": cause.format(number, number) if number % 10 else "no parent", "attempts": 1,
         "cause": "migration_failed", "requests": 1, "duration_ms": 1}
        for number in range(2_500)
    ]  # fmt: skip
    async with fleet.services.central.write() as db:
        await db.execute(insert(rollout_step), rows)
    found = await rollouts.store.failures(made.rollout_id, "failed")
    assert [(each.tenants, each.cause) for each in found] == [
        (2_250, "migration_failed"), (250, "migration_failed"),
    ]  # fmt: skip
    assert all(len(each.examples) == 3 for each in found)


async def test_a_health_query_that_cannot_be_run_touches_nobody(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    for wrong in ("SELEC 1", "SELECT count(*) FROM dekcs", "SELECT colour FROM cards", "BEGIN", "DELETE FROM decks"):
        with pytest.raises(BadRollout, match="the health query"):
            await rollouts.start(Options(health_sql=wrong))
    with pytest.raises(NotFound):
        await rollouts.progress()
    # It is asked of the version that the rollout is to reach, and need not be true where there are no rows.
    assert await rollouts.check(Options(health_sql="SELECT count(colour) = 0 FROM decks"))
    assert not await rollouts.check(Options(health_sql="SELECT count(*) > 0 FROM decks"))
    with pytest.raises(BadRollout, match="colour"):
        await rollouts.check(Options(health_sql="SELECT count(colour) FROM decks"), 2)
    await fleet.services.operations_worker.drain()
    pages = fleet.services.provider.names()
    if pages is not None:
        assert {name async for page in pages for name in page} == set(fleet.names.values())


async def test_workers_share_it_and_each_tenant_is_done_once(fleet: RolloutFleet) -> None:
    started = await fleet.services.rollouts.start(Options(waves=()))
    ended = await asyncio.gather(*(work(fleet, started.rollout_id) for _ in range(3)))
    assert {each.state for each in ended} == {RolloutState.DONE}
    done = await fleet.services.rollouts.progress()
    assert (done.counts["migrated"], done.requests) == (12, 12)


async def test_a_worker_that_vanishes_is_replaced_when_its_lease_is_over(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    started = await rollouts.start(Options(waves=()))
    now_ms = rollouts.clock.now_ms()
    taken = await rollouts.store.claim(started.rollout_id, 1, now_ms=now_ms, lease_until_ms=now_ms + 1000, limit=5)
    assert len(taken) == 5
    assert (await work(fleet, started.rollout_id)).state is RolloutState.DONE
    assert rollouts.clock.now_ms() >= now_ms + 1000
    assert await fleet.versions() == {(1, 2, 3, 4, 5)}


async def test_a_lease_is_renewed_for_what_is_still_held_and_only_that_counts(fleet: RolloutFleet) -> None:
    store = fleet.services.rollouts.store
    made = (await fleet.services.rollouts.start(Options(waves=()))).rollout_id
    now_ms = fleet.services.rollouts.clock.now_ms()
    mine = await store.claim(made, 1, now_ms=now_ms, lease_until_ms=now_ms + 1_000, limit=12)
    theirs = await store.claim(made, 1, now_ms=now_ms + 2_000, lease_until_ms=now_ms + 5_000, limit=4)
    kept = await store.renew(made, mine, now_ms + 9_000)
    lost = {step.tenant_id for step in theirs}
    assert (len(mine), len(lost)) == (12, 4)
    assert {step.tenant_id for step in kept} == set(fleet.names) - lost
    assert {step.lease_until_ms for step in kept} == {now_ms + 9_000}
    ended = [Ended(step=step, state="migrated", version=4, requests=2) for step in (*mine, *kept[:3])]
    assert (await store.record(made, ended)).failed == 0
    progress = await fleet.services.rollouts.progress()
    assert (progress.counts["migrated"], progress.requests) == (3, 6)
    assert await store.renew(made, kept[:3], now_ms + 10_000) == []


async def test_stopped_in_the_middle_it_gives_back_what_it_had(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    started = await rollouts.start(Options(waves=()))
    each = RolloutWorkerConfig(concurrency=1, poll_s=0.05, flush_at=1, lease_s=600)

    async def stop() -> None:
        task.cancel()

    task = asyncio.create_task(rollouts.work(started.rollout_id, config=each, on_progress=stop))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 0 < (await rollouts.progress()).ended < 12
    done = await work(fleet, started.rollout_id)
    assert done.state is RolloutState.DONE  # in no time: nobody holds a lease
    assert (await rollouts.progress()).requests == 12


async def test_paused_by_an_operator_it_takes_on_no_more(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    started = await rollouts.start(Options(waves=()))
    await rollouts.pause(started.rollout_id)
    assert (await work(fleet, started.rollout_id)).state is RolloutState.PAUSED
    assert await fleet.versions() == {(1, 2)}
    await rollouts.resume(started.rollout_id)
    await rollouts.abort(started.rollout_id)
    assert (await work(fleet, started.rollout_id)).state is RolloutState.ABORTED
    async with fleet.services.central.read() as db:
        actions = (await db.execute(select(audit_entry.c.action).order_by(audit_entry.c.seq))).scalars().all()
    assert [each for each in actions if each.startswith("rollout.")] == [
        "rollout.started", "rollout.paused", "rollout.resumed", "rollout.aborted",
    ]  # fmt: skip


async def test_canaries_go_first_and_the_wave_is_looked_at(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    canaries = tuple(list(fleet.names)[7:9])
    await fleet.run(canaries[1], "DELETE FROM cards")
    options = Options(canaries=canaries, waves=("50%",), health_sql="SELECT count(*) > 0 FROM cards")
    started = await rollouts.start(options)
    assert started.waves == 3
    paused = await work(fleet, started.rollout_id)
    assert paused.state is RolloutState.PAUSED
    assert paused.reason == f"the health query is not true on {fleet.names[canaries[1]]}"
    assert (await rollouts.progress()).counts["migrated"] == 2
    await fleet.run(canaries[1], "INSERT INTO cards VALUES (9, 1)")
    await rollouts.resume(started.rollout_id)
    assert (await work(fleet, started.rollout_id)).state is RolloutState.DONE


async def test_a_restore_point_holds_what_was_there_before(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    started = await rollouts.start(Options(restore_points=True, waves=()))
    ended = await work(fleet, started.rollout_id)
    assert ended.state is RolloutState.DONE, (await rollouts.progress()).failures
    async with fleet.services.central.read() as db:
        rows = (await db.exec_driver_sql("SELECT tenant_id, restore_point FROM rollout_step")).all()
    assert len({row.restore_point for row in rows}) == 12
    for row in rows[:3]:
        before = await ledger_rows(await fleet.services.provider.open(row.restore_point))
        assert [each.version for each in before] == [1, 2]
    store: LifecycleStore = fleet.services.lifecycle.store
    await store.discard(rows[0].restore_point, rollouts.clock.now_ms())
    await fleet.services.operations_worker.drain()
    with pytest.raises(NotFound):
        await ledger_rows(await fleet.services.provider.open(rows[0].restore_point))


async def test_a_tenant_that_has_no_restore_point_is_left_as_it_is_and_the_others_go_on(fleet: RolloutFleet) -> None:
    lost = next(iter(fleet.names))
    await fleet.services.provider.delete(fleet.names[lost])
    made = await fleet.services.rollouts.start(Options(waves=(), restore_points=True, failure_budget="1"))
    done = await work(fleet, made.rollout_id)
    progress = await fleet.services.rollouts.progress()
    assert (done.state, progress.counts["migrated"], progress.counts["failed"]) == (RolloutState.DONE, 11, 1)
    assert [(each.cause, each.examples) for each in progress.failures] == [("not_found", (lost,))]


async def test_a_rehearsal_believes_no_false_alarm(fleet: RolloutFleet) -> None:
    """SQLite 3.45, in sqld, says that a REAL column with a default, added to rows, holds NULL."""
    real = "ALTER TABLE cards ADD COLUMN ease REAL NOT NULL DEFAULT 2.5"
    await fleet.services.registry.publish(history(*FIRST, *LATER, real))
    [found] = [each async for each in fleet.services.rollouts.rehearse(6, 1)]
    assert (found.faults, found.from_version) == ((), 2)


async def test_a_rehearsal_changes_only_copies_and_tells_what_would_happen(fleet: RolloutFleet) -> None:
    rollouts = fleet.services.rollouts
    broken = next(iter(fleet.names))
    await fleet.run(broken, "INSERT INTO decks VALUES (2, 'verbs')")
    found = [each async for each in rollouts.rehearse(5, 12)]
    assert await fleet.versions() == {(1, 2)}
    faults = {each.tenant_id: each.faults for each in found if each.faults}
    assert set(faults) == {broken}
    assert "UNIQUE" in faults[broken][0]
    assert all(each.rows_after["cards"] == each.rows_before["cards"] == 2 and not each.lost for each in found)
    await fleet.services.operations_worker.drain()  # the copies are gone
    async with fleet.services.central.read() as db:
        left = (await db.exec_driver_sql("SELECT count(*) FROM unowned_database WHERE due_at_ms IS NOT NULL")).scalar()
    assert left == 0


async def test_what_makes_no_sense_is_refused(fleet: RolloutFleet) -> None:
    cases = [
        (Options(), 6, "no version 6"),
        (Options(), 0, "no version 0"),
        (Options(waves=("many",)), None, "neither a number"),
        (Options(waves=("101%",)), None, "more than all"),
        (Options(failure_budget="-1"), None, "neither a number"),
        (Options(canaries=("nobody",)), None, "not a ready tenant"),
    ]
    for options, to, fault in cases:  # none changes anything, so one fleet does for all
        with pytest.raises(BadRollout, match=fault):
            await fleet.services.rollouts.start(options, to)
        with pytest.raises(NotFound):
            await fleet.services.rollouts.progress()


def test_waves_grow_and_end_with_all() -> None:
    assert wave_ends(("1", "10%"), 0, 300) == (1, 30, 300)
    assert wave_ends(("10%", "5", "1000"), 2, 40) == (2, 4, 5, 40)
    assert wave_ends(("1", "10%"), 0, 1) == (1,)
    assert wave_ends(("0", "0%"), 0, 7) == (7,)
    assert wave_ends(("1",), 0, 0) == ()
