"""Closes a central database for writes when it has been moved or is being moved.

The database itself rejects writes, from any process and any version of the service: triggers on each table call a
function that does not exist. `RAISE` would look like a violated constraint, and the service might report that an
address is taken.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from freehold.central.engine import Central
from freehold.central.file_probe import MOVED_FUNCTION, MOVED_MARK, MOVED_SQL
from freehold.errors import Conflict, Unavailable
from freehold.libsql.protocol import Batch, BatchStep, CondAnd, CondIsAutocommit, CondNot, CondOk, Stmt, Text
from freehold.migrate.fingerprint import OURS_SQL, ask
from freehold.migrate.names import quoted
from freehold.migrate.target import Target

TRIGGERS = "freehold_central_moved_*"
TABLES_SQL = f"SELECT name FROM sqlite_schema WHERE type = 'table' AND {OURS_SQL} ORDER BY name"
_TRIGGERS_SQL = f"SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB '{TRIGGERS}'"


class CentralMoved(Conflict):
    """The central database was moved and no longer accepts writes here."""

    code = "central_moved"
    remedy = "Use the database that the message names; exit code 3."
    where = "cli"


class Mark(msgspec.Struct, frozen=True):
    """A central database's record of its move. `copying`: the copy was started but not finished."""

    place: str
    state: Literal["copying", "copied"]
    at: str

    def __str__(self) -> str:
        """The state of the move, and what to do."""
        if self.state == "copied":
            return (
                f"the central database was copied to {self.place} at {self.at} and no longer accepts writes here;"
                " set DATABASE_URL to that, or take it back with `freehold central reopen`"
            )
        return (
            f"copying the central database to {self.place} was begun at {self.at} and did not end;"
            " repeat `freehold central copy`, or take it back with `freehold central reopen`"
        )


async def require_open(central: Central) -> None:
    """Return unless the database is closed. Raises `CentralMoved`."""
    async with central.read() as db:
        found = await db.exec_driver_sql(MOVED_SQL)
        if found.first() is None:
            return
        row = (await db.exec_driver_sql(f"SELECT place, state, at FROM {MOVED_MARK}")).one()
    raise CentralMoved(str(_mark(row)))


async def read_mark(target: Target) -> Mark | None:
    """The database's record of its move; None if it is open."""
    [tables] = await ask(target, TABLES_SQL)
    if [MOVED_MARK] not in tables:
        return None
    [rows] = await ask(target, f"SELECT place, state, at FROM {MOVED_MARK}")
    return _mark(rows[0])


def _mark(row: Sequence[object]) -> Mark:
    place, state, at = map(str, row)
    return Mark(place, "copied" if state == "copied" else "copying", at)


async def close(target: Target, place: str, now: str) -> None:
    """Reject every write from now on. This is atomic: other transactions end before it or begin after it."""
    [tables] = await ask(target, TABLES_SQL)
    columns = "place TEXT NOT NULL, state TEXT NOT NULL, at TEXT NOT NULL"
    statements = [
        Stmt(sql=f"CREATE TABLE IF NOT EXISTS {MOVED_MARK} ({columns})"),
        Stmt(sql=f"DELETE FROM {MOVED_MARK}"),
        Stmt(sql=f"INSERT INTO {MOVED_MARK} VALUES (?, 'copying', ?)", args=(Text(place), Text(now))),
    ]
    for [name] in tables:
        if name != MOVED_MARK:
            statements += [_refusal(verb, str(name)) for verb in ("INSERT", "UPDATE", "DELETE")]
    await run(target, statements)


def _refusal(verb: str, table: str) -> Stmt:
    name = TRIGGERS.replace("*", f"{verb.lower()}_{table}")
    return Stmt(
        sql=f"CREATE TRIGGER IF NOT EXISTS {quoted(name)} BEFORE {verb} ON {quoted(table)}"
        f" BEGIN SELECT {MOVED_FUNCTION}(); END"
    )


async def note_copied(target: Target) -> None:
    """Record that the copy is complete and in place."""
    await run(target, [f"UPDATE {MOVED_MARK} SET state = 'copied'"])


async def reopen(target: Target) -> None:
    """Accept writes again. Changes made to a copy in the meantime are not here."""
    await run(target, await drops(target))


async def drops(target: Target) -> list[str]:
    """The statements that undo `close`."""
    [found] = await ask(target, _TRIGGERS_SQL)
    return [*(f"DROP TRIGGER {quoted(str(name))}" for [name] in found), f"DROP TABLE IF EXISTS {MOVED_MARK}"]


async def run(target: Target, statements: Sequence[Stmt | str]) -> None:
    """Run all statements in one transaction, with foreign keys off. Raises `Unavailable`."""
    steps = [BatchStep(Stmt(sql="PRAGMA foreign_keys = OFF", want_rows=False))]
    for each in ("BEGIN IMMEDIATE", *statements, "COMMIT"):
        stmt = Stmt(sql=each) if isinstance(each, str) else each
        steps.append(BatchStep(stmt, CondOk(len(steps) - 1)))
    undo = CondAnd((CondNot(CondOk(len(steps) - 1)), CondNot(CondIsAutocommit())))
    steps.append(BatchStep(Stmt(sql="ROLLBACK", want_rows=False), undo))
    steps.append(BatchStep(Stmt(sql="PRAGMA foreign_keys = ON", want_rows=False)))
    [answer] = await target.run([Batch(tuple(steps))])
    if error := next((each for each in answer.step_errors if each is not None), None):
        raise Unavailable(error.message)
    if answer.step_results[len(statements) + 2] is None:
        raise Unavailable("its response does not match the request")
