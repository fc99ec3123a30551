"""Processes that run our own batches on tenants' files: the same answers as in this process, and none left behind."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.errors import NotFound, ProviderUnavailable
from freehold.libsql.protocol import Batch, BatchStep, CondError, Stmt
from freehold.libsql.values import encode
from freehold.migrate.apply import Applied, apply
from freehold.providers.local.batch_processes import BatchProcesses, BatchTarget, batch_processes
from freehold.providers.local.engine import Engine
from freehold.providers.local.files import TenantFiles
from freehold.providers.sqlite.limits import EngineLimits, Limits
from tests.integration.migrate_parts import history, ledger_versions

LIMITS = Limits(statement_s=5, request_s=10, database_bytes=2_000_000)
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n"


@pytest.fixture
def files(tmp_path: Path) -> TenantFiles:
    files = TenantFiles(tmp_path)
    files.check()
    files.create("t-1")
    files.create("t-2")
    return files


@pytest.fixture
async def processes() -> AsyncIterator[BatchProcesses]:
    async with batch_processes(2) as started:
        yield started


def target(processes: BatchProcesses, files: TenantFiles, name: str = "t-1", limits: Limits = LIMITS) -> BatchTarget:
    return BatchTarget(processes, files.path_of(name), limits)


def batch(*statements: str, want_rows: bool = True) -> Batch:
    return Batch(tuple(BatchStep(Stmt(sql=sql, want_rows=want_rows)) for sql in statements))


def children() -> set[int]:
    """Those of this process that run batches."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"batch_process" in (process / "cmdline").read_bytes():
                found.add(int(process.name))
    return found


@pytest.mark.parametrize("want_rows", [True, False])
async def test_the_answers_are_those_of_the_engine(
    processes: BatchProcesses, files: TenantFiles, want_rows: bool
) -> None:
    steps = [
        BatchStep(Stmt(sql=sql, want_rows=want_rows))
        for sql in (
            "CREATE TABLE t (a PRIMARY KEY, b)",
            "BEGIN IMMEDIATE",
            "INSERT INTO t VALUES (1, x'00ff'), (2, 'ä')",
            "INSERT INTO t VALUES (1, 2.5)",
            "SELECT nothing FROM missing",
            "SELECT load_extension('x')",
            "ATTACH 'other.db' AS o",
            "PRAGMA foreign_keys = OFF",
            "COMMIT",
        )
    ]
    steps += [
        BatchStep(Stmt(sql="INSERT INTO t VALUES (?, ?)", args=(encode(3), encode("c")), want_rows=want_rows)),
        BatchStep(Stmt(sql="SELECT * FROM t ORDER BY a"), CondError(3)),
        BatchStep(Stmt(sql="SELECT 'never'"), CondError(0)),
    ]
    engine = Engine(files, LIMITS, EngineLimits())
    try:
        [here] = await engine.run_batches("t-2", [Batch(tuple(steps))], LIMITS)
    finally:
        await engine.close()
    [there] = await target(processes, files).run([Batch(tuple(steps))])
    assert there.step_errors == here.step_errors
    assert [step and (step.cols, step.rows) for step in there.step_results] == [
        step and (step.cols, step.rows) for step in here.step_results
    ]
    assert [bool(error) for error in there.step_errors] == [at in {3, 4, 5, 6} for at in range(12)]
    assert there.step_results[10] is not None
    assert len(there.step_results[10].rows) == 3


async def test_what_is_open_at_the_end_is_rolled_back_and_nothing_goes_over_to_the_next(
    processes: BatchProcesses, files: TenantFiles
) -> None:
    one = target(processes, files)
    await one.run([batch("CREATE TABLE t (a REFERENCES t)")])
    await one.run([batch("PRAGMA foreign_keys = OFF", "BEGIN", "INSERT INTO t VALUES (1)")])
    [answer] = await one.run([batch("SELECT count(*) FROM t", "INSERT INTO t VALUES (7)")])
    assert answer.step_results[0] is not None
    assert answer.step_results[0].rows == [[encode(0)]]
    assert answer.step_errors[1] is not None  # foreign keys are on again


async def test_migrations_go_there_one_file_each_at_the_same_time(
    processes: BatchProcesses, files: TenantFiles
) -> None:
    names = [f"m-{number}" for number in range(20)]
    for name in names:
        files.create(name)
    migrations = history("CREATE TABLE a (b)", "INSERT INTO a VALUES (1)", "UPDATE a SET b = 2")
    done = await asyncio.gather(*(apply(target(processes, files, name), migrations) for name in names))
    assert set(done) == {Applied(3, (1, 2, 3))}
    assert {tuple(ledger_versions(files.path_of(name))) for name in names} == {(1, 2, 3)}
    assert len(children()) == 2


async def test_what_is_not_there_is_told(processes: BatchProcesses, files: TenantFiles) -> None:
    with pytest.raises(NotFound, match="missing"):
        await target(processes, files, "missing").run([batch("SELECT 1")])
    files.path_of("t-1").write_bytes(b"no database" * 1000)
    with pytest.raises(ProviderUnavailable, match="not a database"):
        await target(processes, files).run([batch("SELECT * FROM sqlite_schema")])


@pytest.mark.parametrize("want_rows", [True, False])
async def test_a_suspended_database_is_left_alone(
    processes: BatchProcesses, files: TenantFiles, want_rows: bool
) -> None:
    files.suspend("t-1", "unpaid")
    [answer] = await target(processes, files).run([batch("CREATE TABLE t (a)", want_rows=want_rows)])
    assert answer.step_errors[0] is not None
    assert (answer.step_errors[0].code, "unpaid" in answer.step_errors[0].message) == ("BLOCKED", True)


async def test_limits_count_there_too(processes: BatchProcesses, files: TenantFiles) -> None:
    small = Limits(statement_s=0.1, request_s=10, database_bytes=100_000)
    one = target(processes, files, limits=small)
    statements = ("CREATE TABLE t (a)", ENDLESS, "INSERT INTO t SELECT zeroblob(200000)", "INSERT INTO t VALUES (1)")
    [answer] = await one.run([batch(*statements, want_rows=False)])
    codes = [error and error.code for error in answer.step_errors]
    assert codes == [None, "QUERY_TIMEOUT", "SQLITE_FULL", None]


async def test_a_process_that_is_killed_takes_its_work_along_and_nothing_else(
    processes: BatchProcesses, files: TenantFiles
) -> None:
    both = [target(processes, files, name) for name in ("t-1", "t-2")]
    await asyncio.gather(*(one.run([batch("CREATE TABLE t (a)")]) for one in both))
    before = children()
    running = asyncio.create_task(both[0].run([batch("BEGIN", "INSERT INTO t VALUES (1)", ENDLESS)]))
    with pytest.raises(ProviderUnavailable, match="unknown"):
        await kill_the_one_at_work(files.path_of("t-1"), before, running)
    for one in both:
        [answer] = await one.run([batch("SELECT count(*) FROM t")])
        assert answer.step_results[0] is not None
        assert answer.step_results[0].rows == [[encode(0)]]
    assert len(children() & before) == 1


async def kill_the_one_at_work(path: Path, candidates: set[int], running: "asyncio.Task[object]") -> None:
    """SIGKILL for the process that has the file open."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for pid in candidates:
            with contextlib.suppress(OSError):
                if path in {opened.readlink() for opened in Path(f"/proc/{pid}/fd").iterdir()}:
                    os.kill(pid, signal.SIGKILL)
                    await running
        await asyncio.sleep(0.01)
    raise AssertionError("none had the file open")


async def test_those_that_were_killed_while_they_had_nothing_to_do_are_replaced(
    processes: BatchProcesses, files: TenantFiles
) -> None:
    one = target(processes, files)
    await asyncio.gather(*(one.run([batch("SELECT 1")]) for _ in range(4)))
    before = children()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while any(not seat._process.is_over for seat in processes._seats if seat._process):  # until that is known here
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
    answers = await asyncio.gather(*(one.run([batch("SELECT 1")]) for _ in range(4)))
    assert [answer[0].step_errors for answer in answers] == [[None]] * 4
    assert len(children()) == 2


async def test_an_answer_that_nobody_waits_for_goes_to_nobody_else(
    processes: BatchProcesses, files: TenantFiles
) -> None:
    for _ in range(5):
        slow = asyncio.create_task(target(processes, files).run([batch(ENDLESS, "SELECT 'slow'")]))
        await asyncio.sleep(0.02)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        other = target(processes, files, "t-2")
        answers = await asyncio.gather(*(other.run([batch(f"SELECT {n}")]) for n in range(8)))
        values = [answer[0].step_results[0] for answer in answers]
        assert [value and value.rows for value in values] == [[[encode(n)]] for n in range(8)]


async def test_whoever_is_next_does_not_get_the_answer_that_was_given_up(files: TenantFiles) -> None:
    async with batch_processes(1) as processes:
        one = target(processes, files)
        await one.run([batch("SELECT 1")])
        first = asyncio.create_task(one.run([batch("SELECT 'first'")]))
        second = asyncio.create_task(one.run([batch("SELECT 'second'")]))
        await asyncio.sleep(0)  # both have asked
        await asyncio.sleep(0)
        time.sleep(0.5)  # and both are answered, which nobody has read
        first.cancel()
        with pytest.raises(ProviderUnavailable, match="unknown"):
            await second
        [again] = await one.run([batch("SELECT 'again'")])
        assert again.step_results[0] is not None
        assert again.step_results[0].rows == [[encode("again")]]


async def test_none_is_left_when_it_is_over(files: TenantFiles) -> None:
    async with batch_processes(3) as processes:
        await asyncio.gather(*(target(processes, files).run([batch("SELECT 1")]) for _ in range(9)))
        assert len(children()) == 3
    assert children() == set()


PARENT = """
import asyncio, sys
from pathlib import Path
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.providers.local.batch_processes import BatchTarget, batch_processes
from freehold.providers.sqlite.limits import Limits

async def main():
    async with batch_processes(2) as processes:
        target = BatchTarget(processes, Path(sys.argv[1]), Limits(statement_s=0.5, request_s=0.5))
        await target.run([Batch((BatchStep(Stmt(sql="SELECT 1")),))])
        print(processes._seats[0]._process._process.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_none_is_left_when_the_parent_is_killed(files: TenantFiles) -> None:
    command = [sys.executable, "-c", PARENT, str(files.path_of("t-1"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    until = time.monotonic() + 10
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < until, "the child goes on for nobody"
        time.sleep(0.02)
    with contextlib.closing(sqlite3.connect(files.path_of("t-1"))) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
