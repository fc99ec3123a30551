"""What leads from one schema to another, tried out on a scratch database before it is given to anybody."""

from collections.abc import Sequence

from msgspec import Struct

from freehold.errors import Conflict
from freehold.libsql.protocol import Batch, BatchStep, CondOk, Stmt
from freehold.migrate.canonical import items
from freehold.migrate.schema import EMPTY, Schema, read_schema
from freehold.migrate.snapshot import Scratch, sqlite_scratch
from freehold.migrate.target import Target
from freehold.registry.diff.plan import Change, Plan, fills_alike, needs_rebuild
from freehold.registry.diff.rebuild import guesses
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
        _require_values(before, after)
    rebuilt = frozenset(
        name
        for name, table in after.tables.items()
        if not is_additive and (was := before.tables.get(name)) and needs_rebuild(was, table)
    )
    while True:
        plan = Plan(before, after, rebuilt, is_additive)
        async with scratch() as target:
            await _make(target, before)
            failed = await _run(target, plan)
            result = EMPTY if failed else await read_schema(target)
        if failed is not None:
            wrong, reason = {failed[0].table} - {""}, f"{failed[1]} at `{failed[0].sql[:200]}`"
        else:
            wrong = set() if is_additive else _unlike(result, after)
            reason = f"{', '.join(sorted(wrong))} comes out other than wanted"
            if not wrong and not is_additive and result.fingerprint != after.fingerprint:
                raise CannotDiff("an index, view or trigger comes out other than wanted")
        if failed is None and not wrong:
            return _finished(plan, result)
        if is_additive or not wrong - rebuilt:
            raise CannotDiff(f"this change cannot be written by itself: {reason}")
        rebuilt |= wrong


def _require_values(before: Schema, after: Schema) -> None:
    """Raise `CannotDiff` where all rows of a table would get the same value for what is UNIQUE."""
    for name, table in after.tables.items():
        was = before.tables.get(name)
        if was is None or table.is_virtual:
            continue
        same = {
            column.name for column in table.columns if was.column(column.name) is None and fills_alike(column)
        }
        indexes = [index.shape for index in after.indexes.values() if index.table == name]
        keys = [
            shape_columns for shape in indexes if shape[1] == "unique" and (shape_columns := _indexed(shape))
        ]
        for key in [*table.uniques, *keys]:
            if same.issuperset(key):
                raise CannotDiff(
                    f"{table.name} ({', '.join(key)}) is new and UNIQUE, and each row would get the same value: "
                    "add it without NOT NULL and DEFAULT, fill it, and require it in a later migration"
                )


def _indexed(shape: Sequence[str]) -> tuple[str, ...]:
    """The columns of an index; empty if it is not over plain columns of all rows."""
    found, tail = items(shape)
    is_plain = not tail and all(len(item.words) == 1 for item in found)
    return tuple(item.column for item in found) if is_plain else ()


def _finished(plan: Plan, result: Schema) -> Difference:
    notes = [
        note
        for name in sorted(plan.rebuilt)
        for note in guesses(plan.before.tables[name], plan.after.tables[name])
    ]
    statements = tuple(change.sql for change in plan.changes)
    return Difference(statements, plan.foreign_keys_off, result, tuple(notes))


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
