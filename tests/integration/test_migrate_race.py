"""Two appliers at the same moment, and one that is killed: each migration is there exactly once, and whole."""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from freehold.backoff import Backoff
from freehold.libsql.protocol import Batch, BatchResult
from freehold.migrate.apply import Retries, apply
from freehold.migrate.failures import HistoryDiverged
from freehold.migrate.ledger import read_ledger
from freehold.migrate.sqlite import SqliteTarget
from freehold.migrate.types import chains
from tests.integration.migrate_parts import change, history, ledger_versions, query

ROUNDS = 200
PATIENT = Retries(attempts=50, backoff=Backoff(base_s=0.001, cap_s=0.05, steady=0.5))
# Nothing here fails when it runs twice, except that it is then seen twice.
LOG = [f"CREATE TABLE IF NOT EXISTS log (step TEXT); INSERT INTO log VALUES ('{n}');" for n in range(4)]
MIGRATIONS = history(*LOG[:2], f"-- foreign_keys: off\n{LOG[2]}", LOG[3])


@pytest.mark.parametrize("journal", ["wal", "delete"])
async def test_of_two_appliers_each_migration_is_applied_by_exactly_one(tmp_path: Path, journal: str) -> None:
    seen_race = 0
    for number in range(ROUNDS // 2):
        path = tmp_path / f"{number}.db"
        change(path, f"PRAGMA journal_mode = {journal}")
        # A short wait in SQLite itself brings the retries into play as well.
        targets = [SqliteTarget(path, busy_timeout_s=random.choice([0.001, 1])) for _ in range(2)]
        beliefs = [random.choice([None, 0]) for _ in targets]
        wanted = [random.choice([2, 3, 4]) for _ in targets]
        results = await asyncio.gather(
            *(
                apply(target, MIGRATIONS, recorded=belief, to=to, retries=PATIENT)
                for target, belief, to in zip(targets, beliefs, wanted, strict=True)
            )
        )
        head = max(wanted)
        assert [result.version >= to for result, to in zip(results, wanted, strict=True)] == [True, True]
        assert sorted(results[0].applied + results[1].applied) == list(range(1, head + 1))
        assert ledger_versions(path) == list(range(1, head + 1))
        assert query(path, "SELECT step FROM log ORDER BY rowid") == [(str(n),) for n in range(head)]
        seen_race += all(result.applied for result in results) or beliefs == [0, 0]
    assert seen_race


async def test_of_two_histories_only_one_gets_in(tmp_path: Path) -> None:
    other = history(LOG[0], LOG[1], "CREATE TABLE other (a)", "CREATE TABLE another (a)")
    for number in range(20):
        path = tmp_path / f"{number}.db"
        results = await asyncio.gather(
            *(apply(SqliteTarget(path), given, retries=PATIENT) for given in (MIGRATIONS, other)),
            return_exceptions=True,
        )
        state = await read_ledger(SqliteTarget(path))
        assert state.version == 4
        assert state.chain in {chains(MIGRATIONS)[-1], chains(other)[-1]}
        assert [type(result) for result in results if isinstance(result, BaseException)] == [HistoryDiverged]
        tables = query(path, "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%other'")
        assert tables == [(2 if state.chain == chains(other)[-1] else 0,)]


class Meddled:
    """A target whose file somebody else migrates to version 1, and then locks, just as the first batches come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.target = SqliteTarget(path, busy_timeout_s=0.001)
        self.other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.sent = 0

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        self.sent += len(batches[0].steps) > 1
        if self.sent == 1 and not self.other.in_transaction:
            await apply(self.target, MIGRATIONS, to=1)
            answers = await self.target.run(batches[:1])
            self.other.execute("BEGIN IMMEDIATE")
            return [*answers, *await self.target.run(batches[1:])]
        if self.sent == 3 and self.other.in_transaction:
            self.other.execute("ROLLBACK")
        return await self.target.run(batches)


async def test_being_overtaken_and_then_kept_waiting_is_no_reason_to_stop(tmp_path: Path) -> None:
    target = Meddled(tmp_path / "tenant.db")
    with closing(target.other):
        done = await apply(target, MIGRATIONS, recorded=0, retries=PATIENT)
    assert (done.version, done.applied) == (4, (2, 3, 4))
    assert target.sent == 3


CHILD = """
import asyncio, sys
from freehold.migrate.apply import apply
from freehold.migrate.sqlite import SqliteTarget
from tests.integration.test_migrate_race import SLOW
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(apply(SqliteTarget(sys.argv[1]), SLOW))
"""
FILL = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= 3000)"
SLOW = history(
    "CREATE TABLE a (step, i, filler); CREATE TABLE b (step, i, filler);",
    *(
        f"INSERT INTO a {FILL} SELECT {step}, i, hex(randomblob(50)) FROM n;"
        f"INSERT INTO b {FILL} SELECT {step}, i, hex(randomblob(50)) FROM n;"
        for step in range(2, 12)
    ),
)


def start(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def let_go(child: subprocess.Popen[str]) -> None:
    """Wait until everything is imported, then tell the child to begin."""
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "ready\n"
    child.stdin.write("go\n")
    child.stdin.flush()


def assert_whole(path: Path) -> int:
    """Every version in the ledger has all of its rows, and no other has any. Gives the version."""
    if not query(path, "SELECT 1 FROM sqlite_schema WHERE name = 'freehold_ledger'"):
        return 0
    versions = ledger_versions(path)
    assert versions == list(range(1, len(versions) + 1))
    for table in ("a", "b"):
        counts = query(path, f"SELECT step, count(*) FROM {table} GROUP BY step ORDER BY step")
        assert counts == [(step, 3001) for step in versions[1:]]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    return len(versions)


async def test_an_applier_that_is_killed_leaves_a_whole_database_and_the_next_goes_on(tmp_path: Path) -> None:
    # How long one takes, from start to end, says when to kill the others.
    whole = start(tmp_path / "whole.db")
    let_go(whole)
    began = time.monotonic()
    whole.communicate(timeout=60)
    assert whole.returncode == 0
    duration_s = time.monotonic() - began
    assert assert_whole(tmp_path / "whole.db") == len(SLOW)

    path = tmp_path / "killed.db"
    reached = []
    for number in range(6):
        child = start(path)
        let_go(child)
        time.sleep(duration_s * random.uniform(0.1, 0.5) / (number + 1))
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=60)
        reached.append(assert_whole(path))
    assert reached == sorted(reached)
    assert (await apply(SqliteTarget(path), SLOW)).version == len(SLOW)
    assert assert_whole(path) == len(SLOW)


async def test_two_processes_and_this_one_share_the_work(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    children = [start(path) for _ in range(2)]
    for child in children:
        let_go(child)
    mine = await apply(SqliteTarget(path), SLOW, retries=PATIENT)
    assert mine.version == len(SLOW)
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode == 0
    assert assert_whole(path) == len(SLOW)
