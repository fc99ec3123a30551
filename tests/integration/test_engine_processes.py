"""Engines in processes of their own: the same answers as in this one, whatever becomes of an engine."""

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import CentralUnavailable, NotFound, ProviderUnavailable
from freehold.libsql.protocol import Batch, BatchStep, CondError, Stmt
from freehold.libsql.values import encode
from freehold.migrate.apply import Applied, apply
from freehold.providers.failures import Gone
from freehold.providers.local.jobs import Job
from freehold.providers.local.processes.addresses import PENALTY, socket_of
from freehold.providers.local.processes.children import Child, Place
from freehold.providers.local.processes.config import EngineConfig
from freehold.providers.local.processes.running import StartedEngines
from freehold.providers.local.processes.supervisor import Supervisor
from freehold.providers.local.provider import LocalTarget
from freehold.providers.serving import Call, Disconnect
from freehold.providers.sqlite.limits import EngineLimits, Limits
from tests.integration.migrate_parts import history, ledger_versions
from tests.integration.profile_parts import batch_of, fresh, published, send
from tests.support.gateway_app import Caller, Served, served, served_by_engines

LIMITS = Limits(statement_s=5, request_s=10, database_bytes=2_000_000)
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n"
# Nothing interrupts them; each takes ten seconds and more.
UNSTOPPABLE = {
    "instr": "SELECT instr(hex(zeroblob(1200000)), hex(zeroblob(600000)) || '1')",
    "replace": "SELECT length(replace(hex(zeroblob(1200000)), hex(zeroblob(600000)) || '1', 'x'))",
}
# Takes a second to read, and no time to run.
LONG = f"SELECT 1 IN ({'1,' * 30_000}1)"
CLOSE = {"type": "close"}
QUERY_S = 0.5
PATIENT = EngineLimits(stream_idle_s=60.0)  # a busy machine takes long for what comes between two calls


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Served]:
    async with served_by_engines(tmp_path, query_timeout_s=QUERY_S) as running:
        for name in ("t-1", "t-2"):
            await running.provider.create(name)
        yield running


def target(running: Served, name: str = "t-1", limits: Limits = LIMITS) -> LocalTarget:
    return LocalTarget(running.provider.engine, name, limits)


def batch(*statements: str, want_rows: bool = True) -> Batch:
    return Batch(tuple(BatchStep(Stmt(sql=sql, want_rows=want_rows)) for sql in statements))


def path_of(running: Served, name: str) -> Path:
    found: Path = running.provider._files.path_of(name)
    return found


def engines_of() -> set[int]:
    """The engine processes that supervisors of this test have forked."""
    return {engine for supervisor in _children(os.getpid()) for engine in _children(supervisor)}


def _children(parent: int) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            if b"processes.supervisor" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def same_engine(name: str, engines: int = 2) -> Iterator[str]:
    """Other names of databases that the same engine serves."""
    seat = zlib.crc32(name.encode()) % engines
    for number in range(1000):
        if zlib.crc32(f"b-{number}".encode()) % engines == seat:
            yield f"b-{number}"


async def until(is_so: Callable[[], Any], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


# Our own batches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("want_rows", [True, False])
async def test_the_answers_are_those_of_an_engine_in_this_process(
    gateway: Served, tmp_path: Path, want_rows: bool
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
    async with served(tmp_path / "here") as local:
        await local.provider.create("t-1")
        [here] = await target(local).run([Batch(tuple(steps))])
    [there] = await target(gateway).run([Batch(tuple(steps))])
    assert there.step_errors == here.step_errors
    assert [step and (step.cols, step.rows) for step in there.step_results] == [
        step and (step.cols, step.rows) for step in here.step_results
    ]
    assert [bool(error) for error in there.step_errors] == [at in {3, 4, 5, 6} for at in range(12)]
    assert there.step_results[10] is not None
    assert len(there.step_results[10].rows) == 3


async def test_what_is_open_at_the_end_is_rolled_back_and_nothing_goes_over_to_the_next(gateway: Served) -> None:
    one = target(gateway)
    await one.run([batch("CREATE TABLE t (a REFERENCES t)")])
    await one.run([batch("PRAGMA foreign_keys = OFF", "BEGIN", "INSERT INTO t VALUES (1)")])
    [answer] = await one.run([batch("SELECT count(*) FROM t", "INSERT INTO t VALUES (7)")])
    assert answer.step_results[0] is not None
    assert answer.step_results[0].rows == [[encode(0)]]
    assert answer.step_errors[1] is not None  # foreign keys are on again


async def test_migrations_of_many_databases_run_in_all_engines(gateway: Served, tmp_path: Path) -> None:
    names = [f"m-{number}" for number in range(20)]
    for name in names:
        await gateway.provider.create(name)
    migrations = history("CREATE TABLE a (b)", "INSERT INTO a VALUES (1)", "UPDATE a SET b = 2")
    done = await asyncio.gather(*[apply(await gateway.provider.open(name), migrations) for name in names])
    assert set(done) == {Applied(3, (1, 2, 3))}
    assert {tuple(ledger_versions(path_of(gateway, name))) for name in names} == {(1, 2, 3)}
    assert len(engines_of()) == 2


async def test_errors_come_with_their_class_and_message(gateway: Served) -> None:
    with pytest.raises(NotFound, match="missing"):
        await target(gateway, "missing").run([batch("SELECT 1")])
    path_of(gateway, "t-1").write_bytes(b"no database" * 1000)
    with pytest.raises(ProviderUnavailable, match="not a database"):
        await target(gateway).run([batch("SELECT * FROM sqlite_schema")])


async def test_a_suspended_database_is_left_alone(gateway: Served) -> None:
    await gateway.provider.suspend("t-1", "unpaid")
    [answer] = await target(gateway).run([batch("CREATE TABLE t (a)")])
    assert answer.step_errors[0] is not None
    assert (answer.step_errors[0].code, "unpaid" in answer.step_errors[0].message) == ("BLOCKED", True)


async def test_limits_count_there_too(gateway: Served) -> None:
    small = Limits(statement_s=0.1, request_s=10, database_bytes=100_000)
    one = target(gateway, limits=small)
    statements = ("CREATE TABLE t (a)", ENDLESS, "INSERT INTO t SELECT zeroblob(200000)", "INSERT INTO t VALUES (1)")
    [answer] = await one.run([batch(*statements, want_rows=False)])
    codes = [error and error.code for error in answer.step_errors]
    assert codes == [None, "QUERY_TIMEOUT", "SQLITE_FULL", None]


async def test_an_answer_that_nobody_waits_for_goes_to_nobody_else(gateway: Served) -> None:
    for _ in range(5):
        slow = asyncio.create_task(target(gateway).run([batch(ENDLESS, "SELECT 'slow'")]))
        await asyncio.sleep(0.02)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        other = target(gateway, "t-2")
        answers = await asyncio.gather(*(other.run([batch(f"SELECT {n}")]) for n in range(8)))
        values = [answer[0].step_results[0] for answer in answers]
        assert [value and value.rows for value in values] == [[[encode(n)]] for n in range(8)]


# Clients -------------------------------------------------------------------------------------------------


async def test_a_client_that_goes_away_ends_its_statement(gateway: Served) -> None:
    caller = await gateway.database("t-1")
    await caller.run("create table t(a)")
    for _ in range(3):
        asking = asyncio.create_task(caller.run("begin immediate; " + ENDLESS))
        await asyncio.sleep(0.1)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    assert (await caller.run("insert into t values (1)"))["affected_row_count"] == 1


async def test_a_client_that_goes_away_at_once_ends_its_statement_too(gateway: Served) -> None:
    caller = await gateway.database("t-1")
    await caller.run("create table t(a)")
    link = await gateway.provider.engine._connected("t-1")
    body = {"baton": None, "requests": [{"type": "execute", "stmt": {"sql": sql}} for sql in ("begin", ENDLESS)]}
    grant, disconnect = gateway.provider.verifier.verify(caller.token, "t-1"), Disconnect()
    asking = asyncio.create_task(link.call(Call(grant, "v3/pipeline", json.dumps(body).encode()), disconnect))
    await asyncio.sleep(0)  # it is written, and what follows comes with it
    disconnect.lose()
    began = time.monotonic()
    with pytest.raises(Gone):
        await asking
    assert time.monotonic() - began < QUERY_S


async def test_an_answer_is_not_kept_until_the_next_collection(tmp_path: Path) -> None:
    async with served(tmp_path) as running:
        caller = await running.database("t-1")
        gc.collect()
        gc.disable()
        try:
            for sql in ("select hex(zeroblob(100000))", "create table t(a)", "nonsense"):
                await caller.run(sql)
            opened = await caller.pipeline("begin")
            await caller.pipeline("select 1", CLOSE, baton=opened["baton"])
            await until(lambda: not [each for each in gc.get_objects() if isinstance(each, Job)], within_s=5)
        finally:
            gc.enable()


async def test_a_batch_of_the_registry_passes_with_a_token_that_only_changes_rows(tmp_path: Path) -> None:
    async with served_by_engines(tmp_path, published=published, most="rows") as running:
        caller = await fresh(running)
        assert (await caller.run("create table own(a)"))["code"] == "PROFILE_NEEDED"
        status, body = await send(caller, batch_of(1, 2))
        assert status == 200, body
        assert await caller.rows("select name from sqlite_schema where name = 'cards'") == [["cards"]]


async def test_a_registry_that_cannot_be_read_is_said_to_the_client(tmp_path: Path) -> None:
    async def unreadable() -> Any:
        raise CentralUnavailable("the central database is away")

    async with served_by_engines(tmp_path, published=unreadable, most="rows") as running:
        caller = await fresh(running)
        status, _ = await send(caller, batch_of(1, 2))
        assert status == 503
        assert await caller.rows("select count(*) from words") == [[0]]


async def test_a_batch_nested_too_deep_to_be_passed_on_costs_nobody_a_call(tmp_path: Path) -> None:
    async with served_by_engines(tmp_path, engines=1, published=published, most="rows") as running:
        hostile, bystander = await fresh(running), await running.database("t-2")
        over = asyncio.Event()

        async def go_on() -> int:
            count = 0
            while not over.is_set():
                assert await bystander.rows("select 1") == [[1]]
                count += 1
            return count

        going_on = asyncio.create_task(go_on())
        statuses = set()
        for depth in (*range(60, 900, 40), *range(900, 1000)):
            condition = b'{"type":"not","cond":' * depth + b'{"type":"ok","step":0}' + b"}" * depth
            steps = b'{"stmt":{"sql":"create table own(a)"}},{"condition":%b,"stmt":{"sql":"select 1"}}' % condition
            status, _ = await hostile.post("v1/batch", b'{"batch":{"steps":[%b]}}' % steps)
            statuses.add(status)
        over.set()
        assert await going_on
        assert statuses == {400, 403}  # not JSON that can be read; a schema that this token may not change


async def test_a_deleted_database_is_closed_in_its_engine(gateway: Served) -> None:
    caller = await gateway.database("t-1")
    await caller.run("create table t(a)")
    opened = await caller.pipeline("begin", "insert into t values (1)")
    await gateway.provider.delete("t-1")
    status, body = await caller.post("v3/pipeline", {"baton": opened["baton"], "requests": [CLOSE]})
    assert status in {400, 404}, body
    await gateway.provider.create("t-1")
    assert await caller.rows("select count(*) from sqlite_schema") == [[0]]


# What becomes of an engine -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL])
async def test_an_engine_that_dies_takes_its_calls_along_and_nothing_else(
    gateway: Served, tmp_path: Path, how: signal.Signals
) -> None:
    writer, reader = await gateway.database("t-1"), await gateway.database(next(same_engine("t-1")))
    await writer.run("create table t(a)")
    await reader.run("create table t(a)")
    before = engines_of()
    running = asyncio.create_task(writer.post("v1/execute", {"stmt": {"sql": f"insert into t {ENDLESS}"}}))
    await asyncio.sleep(0.2)
    os.kill(_engine_with(path_of(gateway, "t-1"), before), how)
    status, body = await running
    assert (status, body["code"]) == (503, "OUTCOME_UNKNOWN")
    assert "look whether" in body["message"]
    for caller in (writer, reader):
        assert await caller.rows("select count(*) from t") == [[0]]
    await until(lambda: len(engines_of()) == 2)
    assert len(engines_of() & before) == 1


async def test_engines_that_die_while_they_have_nothing_to_do_are_replaced(gateway: Served, tmp_path: Path) -> None:
    callers = [await gateway.database(f"t-{number}") for number in range(1, 7)]
    for _ in range(3):
        for pid in engines_of():
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.1)
        assert await asyncio.gather(*(caller.rows("select 1") for caller in callers)) == [[[1]]] * 6


def _engine_with(path: Path, candidates: set[int]) -> int:
    for pid in candidates:
        with contextlib.suppress(OSError):
            if path in {opened.readlink() for opened in Path(f"/proc/{pid}/fd").iterdir()}:
                return pid
    raise AssertionError("none has the file open")


@pytest.mark.parametrize("function", UNSTOPPABLE)
async def test_what_nothing_stops_is_answered_and_nobody_else_notices(
    gateway: Served, tmp_path: Path, function: str
) -> None:
    hostile = await gateway.database("t-1")
    names = same_engine("t-1")
    bystanders = [await gateway.database(next(names)) for _ in range(3)]
    elsewhere = await gateway.database("t-2")
    for caller in bystanders:
        await caller.run("create table t(a)")
    before = engines_of()
    is_over = asyncio.Event()

    async def go_on(caller: Caller) -> int:
        count = 0
        while not is_over.is_set():
            assert await caller.rows("select 1") == [[1]]
            count += 1
        return count

    async def in_a_transaction(caller: Caller) -> int:
        """One transaction from before the engine is replaced until after that."""
        opened = await caller.pipeline("begin immediate")
        count = 0
        while not is_over.is_set():
            opened = await caller.pipeline("insert into t values (1)", baton=opened["baton"])
            assert opened["results"][0]["type"] == "ok", opened
            count += 1
            await asyncio.sleep(0.01)
        ended = await caller.pipeline("commit", CLOSE, baton=opened["baton"])
        assert ended["results"][0]["type"] == "ok", ended
        return count

    going_on = [asyncio.create_task(go_on(caller)) for caller in (*bystanders[1:], elsewhere)]
    writing = asyncio.create_task(in_a_transaction(bystanders[0]))
    await asyncio.sleep(0.2)
    began = time.monotonic()
    status, body = await hostile.post("v1/execute", {"stmt": {"sql": UNSTOPPABLE[function]}})
    took_s = time.monotonic() - began
    assert (status, body["code"]) == (400, "QUERY_TIMEOUT"), body
    assert took_s < QUERY_S + 6
    # It is served apart soon, and so is no trouble again.
    async with asyncio.timeout(30):
        while (await hostile.post("v1/execute", {"stmt": {"sql": "select 2"}}))[0] == 429:
            await asyncio.sleep(0.02)
    assert await hostile.rows("select 2") == [[2]]
    assert socket_of(tmp_path / "run", PENALTY).exists()
    await until(lambda: len(engines_of() - before) >= 2)
    await asyncio.sleep(0.5)
    is_over.set()
    assert all(await asyncio.gather(*going_on))
    written = await writing
    assert await bystanders[0].rows("select count(*) from t") == [[written]]
    await until(lambda: len(engines_of() & before) == 1)
    nice = {os.getpriority(os.PRIO_PROCESS, pid) for pid in engines_of()}
    assert nice == {0, 10}


async def test_waiting_for_a_lock_is_no_reason_to_replace_an_engine(gateway: Served, tmp_path: Path) -> None:
    caller = await gateway.database("t-1")
    await caller.run("create table t(a)")
    before = engines_of()
    with contextlib.closing(sqlite3.connect(path_of(gateway, "t-1"))) as db:
        db.execute("BEGIN IMMEDIATE")
        answer = await caller.run("insert into t values (1)")
        await asyncio.sleep(1.5)
    assert answer["code"] in {"SQLITE_BUSY", "QUERY_TIMEOUT"}
    assert engines_of() == before


async def test_one_engine_after_the_other_is_held_up_and_all_others_go_on(tmp_path: Path) -> None:
    async with served_by_engines(tmp_path, engines=1, query_timeout_s=QUERY_S) as running:
        hostile = [await running.database(f"h-{number}") for number in range(3)]
        bystander = await running.database("t-1")
        for caller in hostile:
            asking = asyncio.create_task(caller.post("v1/execute", {"stmt": {"sql": UNSTOPPABLE["instr"]}}))
            while not asking.done():
                assert await bystander.rows("select 1") == [[1]]
            assert asking.result()[0] == 400
        # Once more, from where they are served apart.
        status, _ = await hostile[0].post("v1/execute", {"stmt": {"sql": UNSTOPPABLE["instr"]}})
        assert status == 400
        assert await bystander.rows("select 1") == [[1]]
        await until(lambda: len(engines_of()) <= 4)


async def test_what_an_engine_still_ends_is_not_lost_when_the_next_ones_have_to_go(tmp_path: Path) -> None:
    async with served_by_engines(tmp_path, engines=1, query_timeout_s=QUERY_S, engine_limits=PATIENT) as running:
        hostile = [await running.database(f"h-{number}") for number in range(3)]
        bystander = await running.database("t-1")
        await bystander.run("create table t(a)")
        opened = await bystander.pipeline("begin")  # that keeps the first engine up while others serve in its place
        for caller in hostile:
            status, _ = await caller.post("v1/execute", {"stmt": {"sql": UNSTOPPABLE["instr"]}})
            assert status == 400
            await asyncio.sleep(0.5)
            opened = await bystander.pipeline("insert into t values (1)", baton=opened["baton"])
            assert opened["results"][0]["type"] == "ok", opened
        ended = await bystander.pipeline("commit", CLOSE, baton=opened["baton"])
        assert ended["results"][0]["type"] == "ok", ended
        # One serves, one serves the hostile.
        await until(lambda: len(engines_of()) == 2)
        serving = engines_of()
        assert await bystander.rows("select count(*) from t") == [[3]]
        await asyncio.sleep(1.0)
        assert engines_of() == serving


def test_no_more_than_a_few_leave_a_seat_at_once(tmp_path: Path) -> None:
    ended: list[int] = []

    class Recorded(Child):
        def end(self, how: signal.Signals) -> None:
            ended.append(self.pid)

    ours, _theirs = socket.socketpair()
    config = EngineConfig(
        run_dir=str(tmp_path), databases_dir=str(tmp_path), engines=1, limits=LIMITS, engine_limits=EngineLimits()
    )
    supervisor, seat = Supervisor(config, lock=-1), Place(0)
    for pid in range(10):
        seat.next = Recorded(pid, ours)
        supervisor._hand_over(seat)
    assert seat.child is not None
    assert (seat.child.pid, [each.pid for each in seat.leaving], ended) == (9, [4, 5, 6, 7, 8], [0, 1, 2, 3])


async def test_a_call_whose_sql_is_still_being_read_is_not_lost_either(tmp_path: Path) -> None:
    async with served_by_engines(tmp_path, engines=1, query_timeout_s=QUERY_S) as running:
        hostile = await running.database("h-1")
        bystanders = [await running.database(f"t-{number}") for number in range(3)]
        is_over = asyncio.Event()
        answers = []

        async def go_on(caller: Caller) -> None:
            while not is_over.is_set():
                answers.append(await caller.post("v1/execute", {"stmt": {"sql": LONG}}))

        going_on = [asyncio.create_task(go_on(caller)) for caller in bystanders for _ in range(3)]
        status, _ = await hostile.post("v1/execute", {"stmt": {"sql": UNSTOPPABLE["instr"]}})
        assert status == 400
        await asyncio.sleep(0.5)
        is_over.set()
        await asyncio.gather(*going_on)
        assert {(status, body.get("code")) for status, body in answers} == {(200, None)}


async def test_short_transactions_go_on_while_their_engine_leaves(tmp_path: Path) -> None:
    async with served_by_engines(tmp_path, engines=1, query_timeout_s=QUERY_S, engine_limits=PATIENT) as running:
        hostile = [await running.database(f"h-{number}") for number in range(2)]
        bystanders = [await running.database(f"t-{number}") for number in range(4)]
        is_over = asyncio.Event()

        async def go_on(caller: Caller) -> int:
            await caller.run("create table t(a)")
            count = 0
            while not is_over.is_set():
                opened = await caller.pipeline("begin immediate")
                opened = await caller.pipeline("insert into t values (1)", baton=opened["baton"])
                opened = await caller.pipeline("commit", CLOSE, baton=opened["baton"])
                assert opened["results"][0]["type"] == "ok", opened
                count += 1
            return count

        going_on = [asyncio.create_task(go_on(caller)) for caller in bystanders]
        for caller in hostile:
            status, _ = await caller.post("v1/execute", {"stmt": {"sql": UNSTOPPABLE["instr"]}})
            assert status == 400
            await asyncio.sleep(1.0)
        is_over.set()
        for caller, count in zip(bystanders, await asyncio.gather(*going_on), strict=True):
            assert await caller.rows("select count(*) from t") == [[count]]


# What an engine may do -----------------------------------------------------------------------------------


async def test_an_engine_has_no_secret_and_sees_its_folder_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BETTER_AUTH_SECRET", "s" * 40)
    async with served_by_engines(tmp_path) as running:
        await running.provider.create("t-1")
        caller = await running.caller("t-1")
        assert await caller.rows("select 1") == [[1]]
        for pid in engines_of():
            process = Path(f"/proc/{pid}")
            assert b"BETTER_AUTH_SECRET" not in (process / "environ").read_bytes()
            if sys.platform == "linux":
                await until(lambda: "NoNewPrivs:\t1" in (process / "status").read_text())  # noqa: B023
            assert socket_of(tmp_path / "run", 0).stat().st_mode & 0o777 == 0o600


CONFINED = """
import sys
from pathlib import Path
from freehold.providers.local.processes.confinement import confine
import sqlite3, socket
folder, other = Path(sys.argv[1]), Path(sys.argv[2])
if not confine(folder):
    print("no landlock"); sys.exit()
(folder / "new").write_text("x")
for act in (
    lambda: other.read_text(),
    lambda: (other.parent / "more").write_text("x"),
    lambda: Path("/etc/passwd").read_text(),
    lambda: (folder / "link").symlink_to(other),
    lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
    lambda: list(Path("/proc").iterdir()),
):
    try:
        act()
    except PermissionError:
        continue
    print("allowed"); sys.exit()
print("confined")
"""


def test_whoever_is_confined_opens_nothing_else(tmp_path: Path) -> None:
    folder, other = tmp_path / "own", tmp_path / "other"
    folder.mkdir()
    other.write_text("secret")
    ran = subprocess.run(
        [sys.executable, "-c", CONFINED, str(folder), str(other)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    if ran.stdout.strip() == "no landlock":
        pytest.skip("this kernel has no Landlock")
    assert ran.stdout.strip() == "confined", ran.stderr


# Who starts and ends them --------------------------------------------------------------------------------


async def test_none_is_left_when_it_is_over(tmp_path: Path) -> None:
    async with served_by_engines(tmp_path, engines=3) as running:
        await running.provider.create("t-1")
        await (await running.caller("t-1")).run("select 1")
        assert len(engines_of()) == 3
    assert engines_of() == set()


async def test_there_is_one_set_for_an_installation(gateway: Served, tmp_path: Path) -> None:
    second = StartedEngines(
        EngineConfig(
            run_dir=str(tmp_path / "run"),
            databases_dir=str(tmp_path / "tenants"),
            engines=1,
            limits=LIMITS,
            engine_limits=EngineLimits(),
        )
    )
    assert not second.start()
    assert (await target(gateway).run([batch("SELECT 1")]))[0].step_errors == [None]


async def test_a_folder_with_a_long_path_is_no_trouble(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("longer" * 20)
    folder.mkdir(parents=True)
    async with served_by_engines(folder) as running:
        caller = await running.database("t-1")
        assert await caller.rows("select 1") == [[1]]
