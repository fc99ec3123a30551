"""Move settings and decks from an older installation's central database into each user's own database."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from freehold.errors import Conflict, FreeholdError
from freehold.libsql.protocol import Batch, BatchStep, CondAnd, CondIsAutocommit, CondNot, CondOk, Stmt
from freehold.libsql.values import SqlValue, encode
from freehold.migrate.failures import circumstance
from freehold.migrate.fingerprint import ask
from freehold.migrate.names import quoted
from freehold.migrate.target import Target
from freehold.tenants.lifecycle import Lifecycle
from freehold.tenants.types import TenantState

Row = Mapping[str, SqlValue]
SETTINGS, DECKS = "settings", "decks"
TABLES = (SETTINGS, DECKS)


class CannotBeMoved(Conflict):
    """A user's old rows do not fit into their database, or did not arrive; they are still where they were."""

    code = "cannot_be_moved"
    remedy = "Fix what the message names, and try again."
    where = "cli"


class LegacyRows(Protocol):
    """The old rows. All raise `CentralUnavailable` when the central database does not answer."""

    async def tables(self) -> Sequence[str]:
        """Return those of `TABLES` that exist."""

    def users(self) -> AsyncIterator[str]:
        """Yield users who have rows, in order of their id; read page by page."""

    async def of_user(self, user_id: str) -> Mapping[str, Sequence[Row]]:
        """Return the user's rows by table, under the column names of the user's own database."""

    async def remove(self, user_id: str, expected: Mapping[str, Sequence[Row]]) -> bool:
        """Remove the user's rows. If they are no longer as expected, return False and remove nothing."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one user's rows. `error` is why they were not moved."""

    user_id: str
    settings: int = 0
    decks: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LegacyMove:
    """May be stopped and restarted at any time: copying twice does no harm, and only what has arrived is removed."""

    rows: LegacyRows
    lifecycle: Lifecycle

    async def move(self, user_id: str, *, keep: bool = False, dry_run: bool = False) -> Moved:
        """Copy one user's rows, check that all have arrived, and remove the originals unless `keep`."""
        try:
            found = await self.rows.of_user(user_id)
            settings, decks = (len(found.get(table, ())) for table in TABLES)
            if not dry_run:
                await self._move(user_id, found, keep=keep)
        except FreeholdError as error:
            return Moved(user_id=user_id, error=str(error))
        return Moved(user_id=user_id, settings=settings, decks=decks)

    async def _move(self, user_id: str, found: Mapping[str, Sequence[Row]], *, keep: bool) -> None:
        tenant = await self.lifecycle.find(user_id)
        if tenant.state is not TenantState.READY:
            raise CannotBeMoved(f"the user's database is {tenant.state.value}")
        target = await self.lifecycle.provider.open(tenant.database_name)
        for table in TABLES:
            rows = found.get(table, ())
            if rows:
                await _copy(target, table, rows)
        if not keep and not await self.rows.remove(user_id, found):
            raise CannotBeMoved("the old rows changed meanwhile; run it again")


async def _copy(target: Target, table: str, rows: Sequence[Row]) -> None:
    [known] = await ask(target, f"SELECT name FROM pragma_table_info('{table}')")
    columns = {str(name) for (name,) in known}
    if not columns:
        raise CannotBeMoved(f"the user's database has no table `{table}`")
    statements = [_settings(row, columns) if table == SETTINGS else _deck(row, columns) for row in rows]
    await _run(target, statements)
    await _require_arrived(target, table, rows)


def _settings(row: Row, columns: set[str]) -> Stmt:
    """Return an update of the one settings row. A device's later changes are newer, and stay."""
    values = {name: value for name, value in row.items() if name in columns - {"id", "updated_at"}}
    at = _moment(row.get("updated_at"))
    changes = ", ".join(f"{quoted(name)} = ?" for name in values)
    sql = f"UPDATE settings SET {changes}{', ' if changes else ''}updated_at = ? WHERE id = 1 AND updated_at < ?"
    return Stmt(sql=sql, args=tuple(encode(value) for value in (*values.values(), at, at)), want_rows=False)


def _deck(row: Row, columns: set[str]) -> Stmt:
    values = {name: value for name, value in row.items() if name in columns}
    for name in columns & {"created_at", "updated_at"}:
        values[name] = _moment(values.get(name))
    names, places = ", ".join(map(quoted, values)), ", ".join("?" * len(values))
    sql = f"INSERT INTO decks ({names}) VALUES ({places}) ON CONFLICT (id) DO NOTHING"
    return Stmt(sql=sql, args=tuple(encode(value) for value in values.values()), want_rows=False)


def _moment(value: SqlValue) -> int:
    """Return milliseconds since 1970; older rows may hold a date as text, or none."""
    if isinstance(value, int | float):
        return max(int(value), 1)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return 1
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


async def _run(target: Target, statements: Sequence[Stmt]) -> None:
    steps = [BatchStep(Stmt(sql="BEGIN IMMEDIATE"))]
    for stmt in (*statements, Stmt(sql="COMMIT")):
        steps.append(BatchStep(stmt, CondOk(len(steps) - 1)))
    undo = CondAnd((CondNot(CondOk(len(steps) - 1)), CondNot(CondIsAutocommit())))
    [answer] = await target.run([Batch((*steps, BatchStep(Stmt(sql="ROLLBACK"), undo)))])
    for error in answer.step_errors:
        if error is not None:
            raise circumstance(error) or CannotBeMoved(f"the user's database refuses a row: {error.message}")


async def _require_arrived(target: Target, table: str, rows: Sequence[Row]) -> None:
    if table == SETTINGS:
        newest = max(_moment(row.get("updated_at")) for row in rows)
        [there] = await ask(target, f"SELECT 1 FROM settings WHERE id = 1 AND updated_at >= {newest}")
        found, wanted = len(there), 1
    else:
        ids = {_text(row.get("id")) for row in rows}
        [there] = await ask(target, "SELECT id FROM decks")
        found, wanted = len(ids & {_text(deck_id) for (deck_id,) in there}), len(ids)
    if found != wanted:
        raise CannotBeMoved(f"{wanted} rows of `{table}` were copied, and {found} are there")


def _text(value: SqlValue) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
