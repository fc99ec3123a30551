"""The change from one schema to another, tried on a scratch database before anyone gets it."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from freehold.errors import Conflict
from freehold.libsql.protocol import Batch, BatchStep, CondOk, Stmt
from freehold.migrate.canonical import unwrapped
from freehold.migrate.schema import EMPTY, Schema, read_schema
from freehold.migrate.snapshot import Scratch, sqlite_scratch
from freehold.migrate.target import Target
from freehold.migrate.virtual import Keeps
from freehold.registry.diff.plan import Plan, needs_rebuild
from freehold.registry.diff.rebuild import guesses
from freehold.registry.diff.rows import why_refused
from freehold.registry.diff.values import without_values
from freehold.registry.types import BadRegistry


class CannotDiff(Conflict):
    """A schema change cannot be written automatically."""

    code = "cannot_diff"
    remedy = "The message says what is in the way: write the migration by hand."
    where = "cli"


class Difference(Struct, frozen=True):
    """`statements` in order, empty if the schemas are the same. `result` is the schema that they lead to.

    `notes` lists values that had to be made up; a person should review them.
    """

    statements: tuple[str, ...]
    foreign_keys_off: bool
    result: Schema
    notes: tuple[str, ...] = ()


async def difference(
    before: Schema, after: Schema, *, is_additive: bool = False, scratch: Scratch = sqlite_scratch
) -> Difference:
    """Return statements that turn `before` into `after` and keep rows. Tables and columns are matched by name.

    With `is_additive`, only those that remove nothing; `result` is then an intermediate schema.

    Raises:
        CannotDiff: a statement is refused, or the result differs from `after`.
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
            refused = await run_all(target, [change.sql for change in plan.changes], is_off=plan.foreign_keys_off)
            result = EMPTY if refused else await read_schema(target)
        if refused is not None:
            failed = plan.changes[refused[0]]
            wrong = {failed.table} & before.tables.keys() & after.tables.keys()
            reason = f"{refused[1]} at `{failed.sql[:200]}`"
        else:
            wrong = {
                name
                for name, table in after.tables.items()
                if not is_additive and name in result.tables and result.tables[name].shape != table.shape
            }
            reason = f"{', '.join(sorted(wrong))} comes out other than wanted"
            if not wrong and not is_additive and result.fingerprint != after.fingerprint:
                raise CannotDiff("an index, view or trigger comes out other than wanted")
            if not wrong:
                return _finished(plan, result)
        if is_additive or not wrong - rebuilt - plan.swapped:
            raise CannotDiff(f"this change cannot be written by itself: {reason}")
        rebuilt |= wrong - plan.swapped


def _require_rows(before: Schema, after: Schema, name: str) -> None:
    """Raise `CannotDiff` if rows would be lost silently, or rowids that something refers to."""
    if reason := why_refused(before, after, name):
        raise CannotDiff(reason)


def _finished(plan: Plan, result: Schema) -> Difference:
    notes = [
        note
        for name in sorted(plan.rebuilt | plan.swapped)
        for note in guesses(plan.before.tables[name], plan.after.tables[name])
    ]
    notes += _empty_indexes(plan)
    return Difference(tuple(change.sql for change in plan.changes), plan.foreign_keys_off, result, tuple(notes))


def _empty_indexes(plan: Plan) -> Iterator[str]:
    """Yield notes on new full-text tables that triggers fill from future rows, but nothing from existing ones."""
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


async def schema_of(statements: Sequence[str], scratch: Scratch = sqlite_scratch) -> Schema:
    """Return the schema that these statements create in an empty database. Raises `BadRegistry` if one is refused."""
    async with scratch() as target:
        if refused := await run_all(target, statements, is_off=True):
            raise BadRegistry([f"the declared schema: {refused[1]} at `{statements[refused[0]][:200]}`"])
        return await read_schema(target)


async def _make(target: Target, schema: Schema) -> None:
    kinds = (schema.tables, schema.indexes, schema.views, schema.triggers)
    statements = [one.sql for kind in kinds for one in kind.values()]
    if refused := await run_all(target, statements, is_off=True):
        raise CannotDiff(
            f"the present schema cannot be created again: {refused[1]} at `{statements[refused[0]][:200]}`"
        )


async def run_all(target: Target, statements: Sequence[str], *, is_off: bool) -> tuple[int, str] | None:
    """Run them in one transaction; return the index of the refused one and why, or None."""
    texts = [f"PRAGMA foreign_keys = {'OFF' if is_off else 'ON'}", "BEGIN", *statements, "COMMIT"]
    steps = [BatchStep(Stmt(sql=sql, want_rows=False), CondOk(at - 1) if at else None) for at, sql in enumerate(texts)]
    [answer] = await target.run([Batch(tuple(steps))])
    found = ((at, error.message) for at, error in enumerate(answer.step_errors) if error is not None)
    return next(((max(0, min(at - 2, len(statements) - 1)), reason) for at, reason in found), None)
