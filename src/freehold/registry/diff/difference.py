"""What leads from one schema to another, tried out on a scratch database before it is given to anybody."""

import sqlite3
from collections.abc import Iterator, Sequence, Set
from contextlib import closing

from msgspec import Struct

from freehold.errors import Conflict
from freehold.libsql.protocol import Batch, BatchStep, CondOk, Stmt
from freehold.migrate.canonical import default_text, items, unwrapped
from freehold.migrate.names import folded, quoted
from freehold.migrate.schema import EMPTY, Column, Schema, Table, read_schema
from freehold.migrate.snapshot import Scratch, sqlite_scratch
from freehold.migrate.table_text import table_text
from freehold.migrate.target import Target
from freehold.migrate.virtual import Keeps
from freehold.registry.diff.losses import why_refused
from freehold.registry.diff.plan import Change, Plan, needs_rebuild
from freehold.registry.diff.rebuild import guesses
from freehold.registry.diff.rows import number_column
from freehold.registry.types import BadRegistry


class CannotDiff(Conflict):
    """No statements are known that lead from the one schema to the other."""

    code = "cannot_diff"


class Difference(Struct, frozen=True):
    """`statements` in order, empty when the schemas are the same. `result` is the schema that they lead to.

    `notes` are values that had to be made up; a person should look at them.
    """

    statements: tuple[str, ...]
    foreign_keys_off: bool
    result: Schema
    notes: tuple[str, ...] = ()


async def difference(
    before: Schema, after: Schema, *, is_additive: bool = False, scratch: Scratch = sqlite_scratch
) -> Difference:
    """Statements that make `before` into `after`, rows kept. Columns and tables are told apart by their names.

    With `is_additive`, only those that take nothing away; `result` is then somewhere between.

    Raises:
        CannotDiff: with the statement that is refused, or what comes out other than wanted.
    """
    if not is_additive:
        for reason in without_values(before, after):
            raise CannotDiff(reason)
        for name in Plan(before, after).swapped:
            _require_rows(before, after, name)
    rebuilt = frozenset(
        name
        for name, table in after.tables.items()
        if not is_additive and (was := before.tables.get(name)) and needs_rebuild(was, table)
    )
    while True:
        for name in sorted(rebuilt):
            _require_rows(before, after, name)
        plan = Plan(before, after, rebuilt, is_additive)
        async with scratch() as target:
            await _make(target, before)
            failed = await _run(target, plan)
            result = EMPTY if failed else await read_schema(target)
        if failed is not None:
            wrong = {failed[0].table} & before.tables.keys() & after.tables.keys()
            reason = f"{failed[1]} at `{failed[0].sql[:200]}`"
        else:
            wrong = set() if is_additive else _unlike(result, after)
            reason = f"{', '.join(sorted(wrong))} comes out other than wanted"
            if not wrong and not is_additive and result.fingerprint != after.fingerprint:
                raise CannotDiff("an index, view or trigger comes out other than wanted")
        if failed is None and not wrong:
            return _finished(plan, result)
        if is_additive or not wrong - rebuilt - plan.swapped:
            raise CannotDiff(f"this change cannot be written by itself: {reason}")
        rebuilt |= wrong - plan.swapped


def _require_rows(before: Schema, after: Schema, name: str) -> None:
    """Raise `CannotDiff` where rows would be lost without a word, or what knows them by their numbers."""
    if reason := why_refused(before, after, name):
        raise CannotDiff(reason)


def _finished(plan: Plan, result: Schema) -> Difference:
    notes = [
        note
        for name in sorted(plan.rebuilt | plan.swapped)
        for note in guesses(plan.before.tables[name], plan.after.tables[name])
    ]
    notes += _empty_indexes(plan)
    statements = tuple(change.sql for change in plan.changes)
    return Difference(statements, plan.foreign_keys_off, result, tuple(notes))


def _empty_indexes(plan: Plan) -> Iterator[str]:
    """New full-text tables that triggers fill from rows to come, and nobody from those that are there."""
    for name, table in plan.after.tables.items():
        is_new = name not in plan.before.tables and table.virtual is not None and table.virtual.is_text
        if not is_new or table.keeps not in (Keeps.OWN, Keeps.NOTHING):
            continue
        fills = [
            trigger
            for trigger in plan.after.triggers.values()
            if trigger.table in plan.before.tables and name in map(unwrapped, trigger.shape)
        ]
        if fills:
            yield (
                f"{table.name} starts empty: {fills[0].name} fills it from rows of {fills[0].table} to come; those "
                "that are there have to be put in by a statement of yours"
            )


def _unlike(result: Schema, after: Schema) -> set[str]:
    """Tables that are not what they should be, if both have them."""
    return {
        name
        for name, table in after.tables.items()
        if name in result.tables and result.tables[name].shape != table.shape
    }


async def schema_of(statements: Sequence[str], scratch: Scratch = sqlite_scratch) -> Schema:
    """The schema that these statements make of an empty database.

    Raises:
        BadRegistry: one is refused.
    """
    async with scratch() as target:
        if refused := await run_all(target, statements, is_off=True):
            raise BadRegistry([f"the declared schema: {refused[1]} at `{statements[refused[0]][:200]}`"])
        return await read_schema(target)


async def _make(target: Target, schema: Schema) -> None:
    kinds = (schema.tables, schema.indexes, schema.views, schema.triggers)
    statements = [one.sql for kind in kinds for one in kind.values()]
    if refused := await run_all(target, statements, is_off=True):
        raise CannotDiff(
            f"the present schema cannot be made anew: {refused[1]} at `{statements[refused[0]][:200]}`"
        )


async def _run(target: Target, plan: Plan) -> tuple[Change, str] | None:
    statements = [change.sql for change in plan.changes]
    refused = await run_all(target, statements, is_off=plan.foreign_keys_off)
    return None if refused is None else (plan.changes[refused[0]], refused[1])


async def run_all(target: Target, statements: Sequence[str], *, is_off: bool) -> tuple[int, str] | None:
    """Run them in one transaction; the number (from 0) of the one that was refused, and why."""
    texts = [f"PRAGMA foreign_keys = {'OFF' if is_off else 'ON'}", "BEGIN", *statements, "COMMIT"]
    steps = [
        BatchStep(Stmt(sql=sql, want_rows=False), CondOk(at - 1) if at else None)
        for at, sql in enumerate(texts)
    ]
    [answer] = await target.run([Batch(tuple(steps))])
    for at, error in enumerate(answer.step_errors):
        if error is not None:
            return max(0, min(at - 2, len(statements) - 1)), error.message
    return None


# New columns for which the rows that are there have no values that would do.

# A default in which one of these stands is another one for each row.
_BY_CHANCE = ("random", "uuid", "ulid")


def without_values(before: Schema, after: Schema) -> Iterator[str]:
    """Why a change would be refused by every database with rows, in sentences."""
    for name, table in after.tables.items():
        was = before.tables.get(name)
        if was is not None and not table.is_virtual:
            yield from _keys_without(was, table)
            yield from _refused(was, table)
            yield from _all_the_same(was, table, after)


def _keys_without(was: Table, table: Table) -> Iterator[str]:
    for column in table.columns:
        is_new = was.column(column.name) is None and column.name != number_column(table)
        is_required = column.primary and (column.not_null or not table.has_rowid)
        if is_new and is_required and column.default is None and not column.is_generated:
            yield (
                f"{table.name}.{column.name} is new and in the primary key, and no value is known for the rows that "
                "are there: add it as an ordinary column, fill it, and make it the key in a later migration"
            )


def _refused(was: Table, table: Table) -> Iterator[str]:
    texts = table_text(table.sql).columns
    for column in table.columns:
        text = texts[column.name].text if column.name in texts else ""
        if was.column(column.name) is None and not takes_rows(table, column, text):
            value = "NULL" if column.default is None else default_text(text)
            value = zero(table, column) if column.default is None and column.not_null else value
            yield (
                f"{table.name}.{column.name} is new, and its own constraints refuse {value}, which rows "
                "that are there would get: give it a DEFAULT that they take, or let them take NULL"
            )


def takes_rows(table: Table, column: Column, text: str) -> bool:
    """Whether a row that is there can get the new column, as far as that does not depend on other columns.

    `text` is its definition. Blocking, for a moment: SQLite is asked what the column's own CHECK says to its default.
    """
    is_strict = "strict" in table.options
    if column.is_generated or column.primary or not (is_strict or "check" in text.lower()):
        return True
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            tail = " STRICT" if is_strict else ""
            connection.execute(f'CREATE TABLE one ("\x02" ANY, {text}){tail}')
            if column.not_null and column.default is None:
                name, value = quoted(column.name), zero(table, column)
                connection.execute(f'INSERT INTO one ("\x02", {name}) VALUES (1, {value})')
            else:
                connection.execute('INSERT INTO one ("\x02") VALUES (1)')
        except sqlite3.IntegrityError:
            return False
        except sqlite3.Error:  # it speaks of other columns, or of what is not here
            return True
    return True


def zero(table: Table, column: Column) -> str:
    """The empty value of its affinity."""
    return {"text": "''", "blob": "x''"}.get(table.affinity_of(column), "0")


def _all_the_same(was: Table, table: Table, after: Schema) -> Iterator[str]:
    same = {
        column.name
        for column in table.columns
        if was.column(column.name) is None and fills_alike(column, table)
    }
    if not same:
        return
    keys = [tuple(part.column for part in key.parts) for key in table.keys if key.parts]
    own = {column.name for column in table.columns}
    for index in after.indexes.values():
        if index.table == folded(table.name) and index.shape[1] == "unique":
            keys += _indexed(index.shape, own)
    for key in keys:
        if same.issuperset(key):
            yield (
                f"{table.name} ({', '.join(key)}) is new and UNIQUE, and each row would get the same value: "
                "add it without NOT NULL and DEFAULT, fill it, and require it in a later migration"
            )


def fills_alike(column: Column, table: Table) -> bool:
    """Whether a new column has the same value in all rows that there are, other than NULL."""
    if column.is_generated or column.name == number_column(table):
        return False
    if column.default is None:
        return column.not_null and not column.primary
    return not any(chance in word for word in column.default for chance in _BY_CHANCE)


def _indexed(shape: tuple[str, ...], own: Set[str]) -> Iterator[tuple[str, ...]]:
    """The columns on which an index depends; nothing if it is not over all rows."""
    found, tail = items(shape)
    used = dict.fromkeys(unwrapped(word) for item in found for word in item.words)
    if not tail and (columns := tuple(word for word in used if word in own)):
        yield columns
