"""A rollout over a fleet, on sqld and in files: workers and servers are killed, and clients migrate meanwhile.

The seed is fixed, so that a failure can be played again. `FREEHOLD_ROLLOUT_TENANTS` and `_KILLS` make it longer.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select
from testbed import warm
from testbed.servers import ROOT, clean_environ
from testbed.sqld import Sqld, running_sqld
from testbed.sqld_service import sqld_variables

from freehold.central.tables import tenant
from freehold.central.tenants.rows import new_tenant_row
from freehold.dates import utc_now
from freehold.errors import FreeholdError
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.libsql.values import decode
from freehold.migrate.apply import apply
from freehold.migrate.ledger import ledger_rows
from freehold.migrate.schema import read_schema
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.rollouts.types import Options
from freehold.settings.load import load_settings
from freehold.wiring.services import Services, open_services

TENANTS = int(os.environ.get("FREEHOLD_ROLLOUT_TENANTS", "300"))
KILLS = int(os.environ.get("FREEHOLD_ROLLOUT_KILLS", "8"))
SEED = 20260901
WORKERS = 3
Worker = warm.Started | subprocess.Popen[bytes]
CHILDREN = 3

FIRST = [
    "CREATE TABLE decks (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE cards (id INTEGER PRIMARY KEY, deck_id INTEGER NOT NULL REFERENCES decks (id) ON DELETE CASCADE)",
]
SIX = [
    "ALTER TABLE decks ADD COLUMN colour TEXT",
    "CREATE INDEX cards_deck ON cards (deck_id)",
    "-- foreign_keys: off\nCREATE TABLE new_decks (id INTEGER PRIMARY KEY, name TEXT NOT NULL, colour TEXT);"
    " INSERT INTO new_decks SELECT id, coalesce(name, ''), colour FROM decks; DROP TABLE decks;"
    " ALTER TABLE new_decks RENAME TO decks",
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, deck_id INTEGER REFERENCES decks (id))",
    "INSERT INTO notes (deck_id) SELECT id FROM decks",
    "UPDATE decks SET colour = 'green' WHERE colour IS NULL",
]
SEEDED = ("INSERT INTO decks VALUES (1, 'verbs'), (2, NULL)", "INSERT INTO cards VALUES (1, 1), (2, 1), (3, 2)")


def history(scripts: list[str]) -> list[Migration]:
    return [
        Migration(version=version, name=f"step_{version}", sql=f"{sql};\n")
        for version, sql in enumerate(scripts, start=1)
    ]


def statements(*sql: str) -> Batch:
    return Batch(tuple(BatchStep(Stmt(sql=each)) for each in sql))


async def ask(target: Target, sql: str) -> list[list[Any]]:
    (answer,) = await target.run([statements(sql)])
    result = answer.step_results[0]
    assert result is not None, answer.step_errors
    return [[decode(value) for value in row] for row in result.rows]


@pytest.fixture(params=["sqld", "files"])
def sqld(request: pytest.FixtureRequest) -> Iterator[Sqld | None]:
    """None for the fleet in files."""
    if request.param == "files":
        yield None
        return
    with running_sqld("--max-active-namespaces", "2000") as running:
        yield running


@pytest.fixture
def variables(sqld: Sqld | None, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "registry").mkdir()
    return {
        "DATA_DIR": str(tmp_path / "data"),
        "SCHEMA_REGISTRY": str(tmp_path / "registry"),
        "BETTER_AUTH_SECRET": "s" * 40,
        **(sqld_variables(sqld) if sqld else {}),
    }


@pytest.fixture
async def services(variables: dict[str, str]) -> AsyncIterator[Services]:
    """The whole fleet at version 2, with rows, and six migrations published since."""
    async with open_services(load_settings(variables)) as opened:
        await opened.registry.publish(history(FIRST))
        async with opened.central.write() as db:
            rows = [new_tenant_row(f"user-{at}", opened.provider.name, utc_now()) for at in range(TENANTS)]
            await db.execute(insert(tenant), rows)
        assert await opened.provisioner.drain() == []
        for row in rows:
            await (await opened.provider.open(row["database_name"])).run([statements(*SEEDED)])
        await opened.registry.publish(history(FIRST + SIX))
        yield opened


async def test_every_database_ends_at_the_head_whoever_is_killed(
    services: Services, sqld: Sqld | None, variables: dict[str, str]
) -> None:
    chance = random.Random(SEED)
    names = await _names(services)
    made = await services.rollouts.start(Options(waves=("5", "20%")))
    killed = 0
    workers = [_worker(variables) for _ in range(WORKERS)]
    clients = asyncio.create_task(_clients(services, names, chance))
    restart_at = {KILLS // 3, 2 * KILLS // 3}
    try:
        while (now := await services.rollouts.progress()).rollout.state.value == "running":
            await asyncio.sleep(chance.uniform(0.1, 0.5))
            if killed < KILLS and now.ended < TENANTS * 0.9:
                if killed in restart_at:
                    await _strike(sqld, workers)
                victim = workers[chance.randrange(WORKERS)]
                if victim.poll() is None:
                    victim.kill()
                    killed += 1
            for at, worker in enumerate(workers):
                if worker.poll() is not None:
                    workers[at] = _worker(variables)
    finally:
        clients.cancel()
        for worker in workers:
            worker.kill()
            worker.wait(20)
    assert killed >= 3, "it was over before anybody could be killed"
    done = await services.rollouts.progress(made.rollout_id)
    assert done.rollout.state.value == "done", done
    assert done.counts["failed"] == done.counts["pending"] == 0
    await _look_at_all(services, names)


async def _strike(sqld: Sqld | None, workers: list[Worker]) -> None:
    """Kill what the workers depend on: the server, or on files the processes that they have."""
    if sqld is not None:
        sqld.kill()
        await asyncio.sleep(0.2)
        sqld.start()
        return
    parents = {worker.pid for worker in workers}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) in parents:
                os.kill(int(process.name), signal.SIGKILL)


def _worker(variables: dict[str, str]) -> Worker:
    words, environ = ("rollout", "work", "--lease", "2", "--json"), clean_environ(**variables)
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - no file of ours
        return warm.start(words, folder=ROOT, environ=environ, stdout=nothing, stderr=nothing)


async def _clients(services: Services, names: list[str], chance: random.Random) -> None:
    """Apps that open their databases meanwhile, and migrate them as far as they know."""
    migrations = history(FIRST + SIX)
    while True:
        some = chance.sample(names, 3)
        to = chance.randint(3, len(migrations))
        for name in some:
            with contextlib.suppress(FreeholdError):  # sqld is away, or a worker was quicker
                await apply(await services.provider.open(name), migrations, to=to)
        await asyncio.sleep(0.05)


async def _names(services: Services) -> list[str]:
    async with services.central.read() as db:
        return list((await db.execute(select(tenant.c.database_name))).scalars())


async def _look_at_all(services: Services, names: list[str]) -> None:
    versions = list(range(1, len(FIRST + SIX) + 1))
    prints = set()
    for name in names:
        target = await services.provider.open(name)
        assert [row.version for row in await ledger_rows(target)] == versions
        prints.add((await read_schema(target)).fingerprint)
        assert await ask(target, "SELECT count(*) FROM cards") == [[CHILDREN]]
        assert await ask(target, "SELECT count(*) FROM notes") == [[2]]  # its INSERT ran once
        assert await ask(target, "PRAGMA foreign_key_check") == []
    assert len(prints) == 1
    async with services.central.read() as db:
        recorded = set((await db.execute(select(tenant.c.schema_version))).scalars())
    assert recorded == {versions[-1]}


async def test_a_failing_migration_pauses_it_and_the_repaired_tenant_goes_on(
    services: Services, variables: dict[str, str]
) -> None:
    """The command as CI runs it: exit code 1 and the reason, then 0 and one line that says all."""
    names = sorted(await _names(services))
    broken = await services.provider.open(names[36])
    orphan = ("PRAGMA foreign_keys = OFF", "INSERT INTO cards VALUES (9, 99)", "PRAGMA foreign_keys = ON")
    await broken.run([statements(*orphan)])
    started = await _run(variables, "start", "--wave", "30", "--wait", "--json")
    assert started[0] == 1
    line = started[1][-1]
    assert (line["tenants"], line["failed"], line["to"]) == (TENANTS, 1, 8)
    assert line["migrated"] < TENANTS - 1
    code, status = await _run(variables, "status", "--json")
    assert (code, status[0]["rollout"]["state"]) == (1, "paused")
    assert status[0]["failures"][0]["cause"] == "migration_failed"

    await broken.run([statements("DELETE FROM cards WHERE id = 9")])
    assert (await _run(variables, "retry", "--failed"))[0] == 0
    code, lines = await _run(variables, "resume", "--wait", "--json")
    assert (code, lines[-1]["migrated"], lines[-1]["failed"]) == (0, TENANTS, 0)
    assert set(lines[-1]) == {
        "rollout_id", "to", "tenants", "migrated", "skipped", "failed", "drifted", "requests", "seconds",
    }  # fmt: skip
    await _look_at_all(services, names)


async def _run(variables: dict[str, str], *words: str) -> tuple[int, list[Any]]:
    """Exit code, and the lines of stdout, decoded where they are JSON."""
    done = await asyncio.to_thread(warm.run, ["rollout", *words], folder=ROOT, environ=clean_environ(**variables))
    assert done.returncode in {0, 1}, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
